//! All dialects carry the same requests and answers.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use serde_json::{Value, json};

use super::{Answer, Input, Tool, ToolCall, ToolResult, Turn, anthropic, chat, gemini, responses};

fn schema() -> Value {
    json!({"type": "object", "properties": {"command": {"type": "string"}}})
}

/// One tool on offer, and one result of an earlier call.
fn expected(id: &str, text: &str) -> Turn {
    Turn {
        model: "m".to_owned(),
        stream: true,
        tools: vec![Tool {
            name: "Bash".to_owned(),
            input: Input::Schema(schema()),
        }],
        results: vec![ToolResult {
            id: id.to_owned(),
            text: text.to_owned(),
        }],
    }
}

#[test]
fn a_request_says_the_same_in_every_dialect() {
    let anthropic = anthropic::read(&json!({
        "model": "m",
        "stream": true,
        "tools": [
            {"name": "Bash", "input_schema": schema()},
            {"name": "web_search", "type": "web_search_20250305"},
        ],
        "messages": [
            {"role": "user", "content": "text"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "call_0"}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_0", "content": "done"},
            ]},
        ],
    }));
    assert_eq!(anthropic, expected("call_0", "done"));
    let responses = responses::read(&json!({
        "model": "m",
        "stream": true,
        "tools": [
            {"type": "function", "name": "Bash", "parameters": schema()},
            {"type": "web_search"},
        ],
        "input": [
            {"type": "function_call", "call_id": "call_0"},
            {"type": "function_call_output", "call_id": "call_0", "output": "done"},
        ],
    }));
    assert_eq!(responses, expected("call_0", "done"));
    let chat = chat::read(&json!({
        "model": "m",
        "stream": true,
        "tools": [{"type": "function", "function": {"name": "Bash", "parameters": schema()}}],
        "messages": [{"role": "tool", "tool_call_id": "call_0", "content": "done"}],
    }));
    assert_eq!(chat, expected("call_0", "done"));
    let request = json!({
        "tools": [{"functionDeclarations": [{"name": "Bash", "parametersJsonSchema": schema()}]}],
        "contents": [{"parts": [{"functionResponse": {"id": "call_0", "response": {}}}]}],
    });
    assert_eq!(gemini::read(&request, "m", true), expected("call_0", "{}"));
}

/// The JSON of each event in a stream.
fn parts(events: &str) -> Vec<Value> {
    let data = |line: &str| serde_json::from_str(line.strip_prefix("data: ")?).ok();
    events.lines().filter_map(data).collect()
}

#[test]
fn a_call_arrives_whole_in_every_dialect() {
    let turn = expected("", "");
    let input = json!({"command": "id"});
    let text = input.to_string();
    let call = Answer::ToolCall(ToolCall {
        id: "call_1".to_owned(),
        name: "Bash".to_owned(),
        input: input.clone(),
    });

    let anthropic = parts(&anthropic::events(&turn, &call));
    assert_eq!(anthropic[1]["content_block"]["name"], "Bash");
    assert_eq!(anthropic[2]["delta"]["partial_json"], text);
    assert_eq!(anthropic::whole(&turn, &call)["content"][0]["input"], input);

    let responses = parts(&responses::events(&turn, &call));
    let done = responses
        .iter()
        .find(|part| part["type"] == "response.output_item.done")
        .unwrap();
    assert_eq!(done["item"]["call_id"], "call_1");
    assert_eq!(done["item"]["arguments"], text);
    assert_eq!(responses::whole(&turn, &call)["output"][0], done["item"]);

    let chat = parts(&chat::events(&turn, &call));
    let function = &chat[0]["choices"][0]["delta"]["tool_calls"][0]["function"];
    assert_eq!(function, &json!({"name": "Bash", "arguments": text}));

    let gemini = parts(&gemini::events(&turn, &call));
    let function = &gemini[0]["candidates"][0]["content"]["parts"][0]["functionCall"];
    assert_eq!(
        function,
        &json!({"id": "call_1", "name": "Bash", "args": input})
    );
}
