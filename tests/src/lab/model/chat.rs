//! The Chat Completions API (`POST /v1/chat/completions`): read a request,
//! render an answer.
//!
//! Only what tool calls need. Source: platform.openai.com, API reference,
//! "Chat Completions".

use serde_json::{Value, json};

use super::{Answer, Input, Tool, ToolResult, Turn, array, as_text, data, string};

/// Reads a request.
pub fn read(request: &Value) -> Turn {
    let tools = array(request, "tools")
        .iter()
        .filter(|tool| tool["type"] == "function")
        .map(|tool| Tool {
            name: string(&tool["function"], "name"),
            input: Input::Schema(tool["function"]["parameters"].clone()),
        })
        .collect();
    let results = array(request, "messages")
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| ToolResult {
            id: string(message, "tool_call_id"),
            text: as_text(&message["content"]),
        })
        .collect();
    Turn {
        model: string(request, "model"),
        stream: request["stream"] == true,
        tools,
        results,
    }
}

/// Renders an answer as one JSON completion.
pub fn whole(turn: &Turn, answer: &Answer) -> Value {
    let mut completion = frame(turn, "chat.completion");
    completion["choices"] = json!([{
        "index": 0,
        "message": message(answer),
        "finish_reason": finish_reason(answer),
    }]);
    completion["usage"] = usage();
    completion
}

/// Renders an answer as server-sent events.
pub fn events(turn: &Turn, answer: &Answer) -> String {
    let mut content = frame(turn, "chat.completion.chunk");
    content["choices"] = json!([{"index": 0, "delta": message(answer), "finish_reason": null}]);
    let mut finish = frame(turn, "chat.completion.chunk");
    finish["choices"] = json!([{"index": 0, "delta": {}, "finish_reason": finish_reason(answer)}]);
    let mut last = frame(turn, "chat.completion.chunk");
    last["choices"] = json!([]);
    last["usage"] = usage();
    [&content, &finish, &last]
        .into_iter()
        .map(data)
        .chain(["data: [DONE]\n\n".to_owned()])
        .collect()
}

fn frame(turn: &Turn, object: &str) -> Value {
    json!({
        "id": format!("chatcmpl-{}", turn.results.len()),
        "object": object,
        "created": 0,
        "model": turn.model,
    })
}

fn message(answer: &Answer) -> Value {
    match answer {
        Answer::Text(text) => json!({"role": "assistant", "content": text}),
        Answer::ToolCall(call) => json!({
            "role": "assistant",
            "content": null,
            "tool_calls": [{
                "index": 0,
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": as_text(&call.input)},
            }],
        }),
    }
}

fn finish_reason(answer: &Answer) -> &'static str {
    match answer {
        Answer::Text(_) => "stop",
        Answer::ToolCall(_) => "tool_calls",
    }
}

fn usage() -> Value {
    json!({"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2})
}
