// Reads files as the npm package dotenv does.
//
// Arguments: files. Prints a JSON array with an object for each. Ends with 3 where there is no such package.
"use strict";

const { readFileSync } = require("node:fs");

let dotenv;
try {
  dotenv = require("dotenv");
} catch {
  process.exit(3);
}
const results = process.argv.slice(2).map((file) => dotenv.parse(readFileSync(file)));
process.stdout.write(JSON.stringify(results));
