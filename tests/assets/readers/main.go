// Reads files as Docker Compose reads an env_file, or as YAML.
//
// Arguments: compose or yaml, then files. Prints a JSON array with an object for each file, null for one that it refuses.
package main

import (
	"encoding/json"
	"os"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"gopkg.in/yaml.v3"
)

func main() {
	results := []any{}
	for _, file := range os.Args[2:] {
		var result any
		var err error
		if os.Args[1] == "compose" {
			result, err = readEnvFile(file)
		} else {
			result, err = readYAML(file)
		}
		if err != nil {
			result = nil
		}
		results = append(results, result)
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		panic(err)
	}
}

// As compose-go reads the files of `services.<name>.env_file`.
func readEnvFile(path string) (any, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	variables := map[string]string{}
	unset := func(string) (string, bool) { return "", false }
	return variables, dotenv.ParseWithFormat(file, path, variables, unset, "")
}

func readYAML(path string) (any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	result := map[string]any{}
	return result, yaml.Unmarshal(text, &result)
}
