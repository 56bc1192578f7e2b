"""A YAML file in plain Python types; whatever is wrong with it is told in one line."""

import re
from pathlib import Path
from typing import Any

import yaml

from svvr.core.messages import part, show


class YamlError(ValueError):
    """A file that cannot be read as YAML; the message is one line: file, where, got, expected."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader that reads 1e-5 as a number and refuses repeated keys, and `!!set`, which has no order."""

    yaml_constructors = yaml.SafeLoader.yaml_constructors | {
        "tag:yaml.org,2002:set": yaml.SafeLoader.construct_undefined
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Refuse repeated keys before `<<` merges others into the mapping, which may repeat them."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if key.value in lines:
                got = f"it in line {lines[key.value]} and again in line {line}"
                raise YamlError(f"{part(key.value)}: got {got}, expected each key once")
            lines[key.value] = line
        return node


_EXPONENT = re.compile(r"[-+]?[0-9]+\.?[0-9]*[eE][-+]?[0-9]+\Z")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def read(path: Path) -> Any:
    """Read a YAML file into plain Python types.

    Raises:
        YamlError: where the file cannot be read, is broken YAML or repeats a key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.load(text, _Loader)
    except OSError as error:
        complaint = f"got no readable file ({error.strerror}), expected YAML"
    except UnicodeDecodeError as error:
        complaint = f"got a byte at {error.start} that is not UTF-8, expected text in UTF-8"
    except YamlError as error:
        complaint = str(error)
    except yaml.YAMLError as error:
        complaint = _broken(text, error)
    except RecursionError:
        complaint = "got brackets too deep to follow, expected a few levels"
    except Exception as error:  # a date such as 2026-13-45, a tag such as !!bool on another word
        complaint = f"got a value that cannot be read ({show(str(error))}), expected plain YAML"
    raise YamlError(f"{path}: {complaint}")


def _broken(text: str, error: yaml.YAMLError) -> str:
    """Say where YAML is broken, and how."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        line, what = error.problem_mark.line + 1, " ".join(filter(None, [error.context, error.problem]))
    else:  # a character that the reader refuses, of which it tells the position alone
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        what = "a character that YAML does not allow"
    if "'\\t' that cannot start" in what:
        return f"line {line}: got a tab, expected indentation by spaces"
    return f"line {line}: got broken YAML ({what}), expected `key: value` or `key: {{key: value}}`"
