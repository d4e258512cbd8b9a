"""Reads files as python-dotenv, PyYAML, json or systemd's EnvironmentFile= does.

Arguments: dotenv, yaml, json or systemd, then files. Prints a JSON array with an object for each file, null for one that is
refused. Ends with 3 where there is no such reader.
"""

import ctypes
import glob
import json
import logging
import sys


def read_dotenv(path):
    # A line that it cannot read is a warning to it, and missing in the result.
    logging.disable(logging.WARNING)
    return dict(dotenv.dotenv_values(path))


def read_yaml(path):
    with open(path, encoding="utf-8", newline="") as file:
        return yaml.safe_load(file)


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def read_systemd(path):
    """By the function of systemd's own library that its units' EnvironmentFile= is read with."""
    variables = ctypes.POINTER(ctypes.c_char_p)()
    if systemd.load_env_file(None, path.encode(), ctypes.byref(variables)) < 0:
        return None
    result, index = {}, 0
    while variables and variables[index] is not None:
        name, _, value = variables[index].decode().partition("=")
        result[name] = value
        index += 1
    return result


def missing():
    sys.exit(3)


reader = sys.argv[1]
try:
    if reader == "dotenv":
        import dotenv
    elif reader == "yaml":
        import yaml
    elif reader == "systemd":
        libraries = [
            library
            for pattern in ("/usr/lib/*/systemd", "/usr/lib/systemd", "/usr/lib64/systemd", "/lib/systemd")
            for library in glob.glob(f"{pattern}/libsystemd-shared*.so")
        ]
        systemd = ctypes.CDLL(libraries[0]) if libraries else missing()
        systemd.load_env_file.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.POINTER(ctypes.c_char_p)),
        ]
except (ImportError, OSError, AttributeError):
    missing()

results = []
for path in sys.argv[2:]:
    try:
        results.append(globals()[f"read_{reader}"](path))
    except ValueError:
        results.append(None)
    except Exception as error:
        if type(error).__module__.split(".")[0] != "yaml":
            raise
        results.append(None)
json.dump(results, sys.stdout)
