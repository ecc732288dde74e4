"""The JSON Schema accepts what the loader accepts, and refuses what it refuses as far as a schema can tell.

Usage: schema_test.py SCHEMA FOLDER. In FOLDER/bad each file says in a comment what the schema makes of it:
`# schema refuses`, `# schema accepts` (only the loader can tell), or `# schema unreadable` (no YAML that we take).
"""

import json
import pathlib
import re
import sys

import jsonschema
import yaml

# YAML 1.1, which the library implements by itself, reads the key `on` as a boolean.
CORE_TYPES = {
    "tag:yaml.org,2002:null": r"^(?:~|null|Null|NULL|)$",
    "tag:yaml.org,2002:bool": r"^(?:true|True|TRUE|false|False|FALSE)$",
    "tag:yaml.org,2002:int": r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$",
    "tag:yaml.org,2002:float": r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$",
}


class CoreLoader(yaml.SafeLoader):
    """YAML 1.2 core schema, without duplicate keys and without tags in the text."""

    yaml_implicit_resolvers = {}

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str):
                raise yaml.YAMLError("a key that is no text")
        if len(keys) != len(set(keys)):
            raise yaml.YAMLError("duplicate key")
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


for core_tag, pattern in CORE_TYPES.items():
    CoreLoader.add_implicit_resolver(core_tag, re.compile(pattern), None)
CoreLoader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node))


def verdict(validator, text):
    """Returns what the schema makes of a text, and why."""
    try:
        value = yaml.load(text, CoreLoader)
    except (yaml.YAMLError, ValueError) as error:
        return "unreadable", str(error)
    errors = list(validator.iter_errors(value))
    return ("refuses", errors[0].message) if errors else ("accepts", "")


def main():
    schema_path, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    with open(schema_path, encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    failures = 0
    count = 0
    for kind in ("good", "warn", "bad"):
        for path in sorted((folder / kind).glob("*.yaml")):
            text = path.read_text(encoding="utf-8")
            wanted = "accepts"
            if kind == "bad":
                found = re.findall(r"^# schema (\w+)$", text, re.MULTILINE)
                wanted = found[0] if len(found) == 1 else "a '# schema' comment"
            got, why = verdict(validator, text)
            count += 1
            if got != wanted:
                failures += 1
                print(f"{kind}/{path.name}: the schema {got}, wanted: {wanted}. {why}")
    print(f"{count} files, {failures} wrong")
    return 1 if failures or count < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
