//! Puts a script's call into the terms of the tools that a client offers.
//!
//! Clients name the same few tools differently; the tables here hold every
//! name seen in the agents of [`crate::lab::agents`]. A client that lacks a tool
//! for files gets the same work as a patch or as a shell command.

use serde_json::{Map, Value, json};

use super::{Call, Input, Tool, ToolCall};

const SHELL: &[&str] = &[
    "Bash",
    "bash",
    "shell_command",
    "exec_command",
    "shell",
    "run_shell_command",
    "execute_command",
    "run_commands",
];
const READ: &[&str] = &["Read", "read", "view", "read_file", "read_files"];
const WRITE: &[&str] = &["Write", "write", "create", "write_file", "write_to_file"];
const EDIT: &[&str] = &["Edit", "edit", "replace", "edit_file", "replace_in_file"];
const PATCH: &[&str] = &["apply_patch"];

const COMMAND_KEYS: &[&str] = &["command", "cmd", "commands"];
const PATH_KEYS: &[&str] = &["file_path", "filePath", "absolute_path", "path", "paths"];
const CONTENT_KEYS: &[&str] = &["content", "contents", "file_text"];
const OLD_KEYS: &[&str] = &["old_string", "oldString", "old_str", "oldText"];
const NEW_KEYS: &[&str] = &["new_string", "newString", "new_str", "newText"];

/// Time limit of a command in the client's own unit: long enough in seconds and in milliseconds.
const TIMEOUT: u32 = 60_000;

/// Puts `call` into the terms of `tools`; `None` if no tool on offer can do it.
pub fn order(call: &Call, id: &str, tools: &[Tool]) -> Option<ToolCall> {
    let (name, input) = native(call, tools)
        .or_else(|| patch(call, tools))
        .or_else(|| shell(&as_command(call), tools))?;
    Some(ToolCall {
        id: id.to_owned(),
        name,
        input,
    })
}

/// The client's own tool for this kind of call.
fn native(call: &Call, tools: &[Tool]) -> Option<(String, Value)> {
    match call {
        Call::Read { path } => fill(tools, READ, &[(PATH_KEYS, path)]),
        Call::Write { path, content } => {
            fill(tools, WRITE, &[(PATH_KEYS, path), (CONTENT_KEYS, content)])
        }
        Call::Edit { path, old, new } => fill(
            tools,
            EDIT,
            &[(PATH_KEYS, path), (OLD_KEYS, old), (NEW_KEYS, new)],
        ),
        Call::Shell { command } => shell(command, tools),
    }
}

fn shell(command: &str, tools: &[Tool]) -> Option<(String, Value)> {
    fill(tools, SHELL, &[(COMMAND_KEYS, command)])
}

/// The first tool of these names whose schema has a key for each value.
fn fill(tools: &[Tool], names: &[&str], values: &[(&[&str], &str)]) -> Option<(String, Value)> {
    names.iter().find_map(|name| {
        let tool = tools.iter().find(|tool| tool.name == *name)?;
        let Input::Schema(schema) = &tool.input else {
            return None;
        };
        Some((tool.name.clone(), object(schema, values)?))
    })
}

/// An object that fits the schema and holds the values; every other key that
/// the schema requires gets a harmless value of its type.
fn object(schema: &Value, values: &[(&[&str], &str)]) -> Option<Value> {
    let properties = schema["properties"].as_object()?;
    let mut object = Map::new();
    for (keys, value) in values {
        let key = keys.iter().find(|key| properties.contains_key(**key))?;
        object.insert((*key).to_owned(), typed(key, &properties[*key], value));
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        let key = key.as_str()?;
        if !object.contains_key(key) {
            object.insert(key.to_owned(), harmless(&properties[key]));
        }
    }
    Some(Value::Object(object))
}

/// The value in the schema's type: a lone `command` array is an argv, any other array
/// holds the value alone.
fn typed(key: &str, schema: &Value, value: &str) -> Value {
    if schema["type"] != "array" {
        value.into()
    } else if key == "command" {
        json!(["bash", "-c", value])
    } else {
        json!([value])
    }
}

fn harmless(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    match schema["type"].as_str() {
        Some("boolean") => false.into(),
        Some("integer" | "number") => TIMEOUT.into(),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => "scripted".into(),
    }
}

/// The call as a patch in the form that Codex's `apply_patch` takes.
fn patch(call: &Call, tools: &[Tool]) -> Option<(String, Value)> {
    let hunk = match call {
        Call::Write { path, content } => {
            let lines: String = content.lines().map(|line| format!("+{line}\n")).collect();
            format!("*** Add File: {path}\n{lines}")
        }
        Call::Edit { path, old, new } => format!("*** Update File: {path}\n@@\n-{old}\n+{new}\n"),
        Call::Read { .. } | Call::Shell { .. } => return None,
    };
    let text = format!("*** Begin Patch\n{hunk}*** End Patch\n");
    let tool = tools
        .iter()
        .find(|tool| PATCH.contains(&tool.name.as_str()))?;
    let input = match &tool.input {
        Input::Text => text.into(),
        Input::Schema(schema) => object(
            schema,
            &[(&["input", "patch", "patchText", "patch_text"], &text)],
        )?,
    };
    Some((tool.name.clone(), input))
}

/// The call as a command line.
fn as_command(call: &Call) -> String {
    match call {
        Call::Read { path } => format!("cat {}", quoted(path)),
        Call::Write { path, content } => {
            format!("printf %s {} > {}", quoted(content), quoted(path))
        }
        Call::Edit { path, old, new } => {
            let line = format!("s|^{old}$|{new}|");
            format!("sed -i {} {}", quoted(&line), quoted(path))
        }
        Call::Shell { command } => command.clone(),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    fn offered(name: &str, schema: Value) -> Tool {
        Tool {
            name: name.to_owned(),
            input: Input::Schema(schema),
        }
    }

    fn bash() -> Tool {
        offered(
            "Bash",
            json!({"properties": {"command": {"type": "string"}}, "required": ["command"]}),
        )
    }

    #[test]
    fn a_call_goes_to_the_clients_own_tool_under_its_own_keys() {
        let read = offered(
            "read",
            json!({"properties": {"filePath": {"type": "string"}}}),
        );
        let call = Call::Read { path: "/x".into() };
        let order = order(&call, "call_0", &[bash(), read]).unwrap();
        assert_eq!(
            (order.name, order.input),
            ("read".into(), json!({"filePath": "/x"}))
        );
    }

    #[test]
    fn required_keys_that_the_script_does_not_know_get_a_value_of_their_type() {
        let shell = offered(
            "run_shell_command",
            json!({
                "properties": {
                    "command": {"type": "string"},
                    "is_background": {"type": "boolean"},
                    "mode": {"type": "string", "enum": ["sync", "async"]},
                },
                "required": ["command", "is_background", "mode"],
            }),
        );
        let call = Call::Shell {
            command: "id".into(),
        };
        let order = order(&call, "call_0", &[shell]).unwrap();
        let expected = json!({"command": "id", "is_background": false, "mode": "sync"});
        assert_eq!(order.input, expected);
    }

    #[test]
    fn a_client_without_file_tools_gets_a_patch_or_a_command() {
        let call = Call::Edit {
            path: "/x".into(),
            old: "it's".into(),
            new: "it is".into(),
        };
        let text = Tool {
            name: "apply_patch".into(),
            input: Input::Text,
        };
        let patch = order(&call, "call_0", &[bash(), text]).unwrap();
        let expected = "*** Begin Patch\n*** Update File: /x\n@@\n-it's\n+it is\n*** End Patch\n";
        assert_eq!(patch.input, expected);
        let command = order(&call, "call_0", &[bash()]).unwrap();
        let expected = r"sed -i 's|^it'\''s$|it is|' '/x'";
        assert_eq!(command.input, json!({"command": expected}));
    }

    #[test]
    fn nothing_is_ordered_that_no_tool_can_do() {
        let call = Call::Shell {
            command: "id".into(),
        };
        assert_eq!(order(&call, "call_0", &[]), None);
    }
}
