//! The Messages API (`POST /v1/messages`): read a request, render an answer.
//!
//! Only what tool calls need. Source: docs.anthropic.com, "Messages" and
//! "Streaming messages".

use serde_json::{Value, json};

use super::{Answer, Input, Tool, ToolResult, Turn, array, as_text, event, string};

/// Reads a request.
pub fn read(request: &Value) -> Turn {
    let tools = array(request, "tools")
        .iter()
        // A tool with a type other than "custom" is run by the model's own servers.
        .filter(|tool| tool["type"].as_str().is_none_or(|kind| kind == "custom"))
        .map(|tool| Tool {
            name: string(tool, "name"),
            input: Input::Schema(tool["input_schema"].clone()),
        })
        .collect();
    let results = array(request, "messages")
        .iter()
        .flat_map(|message| array(message, "content"))
        .filter(|block| block["type"] == "tool_result")
        .map(|block| ToolResult {
            id: string(block, "tool_use_id"),
            text: as_text(&block["content"]),
        })
        .collect();
    Turn {
        model: string(request, "model"),
        stream: request["stream"] == true,
        tools,
        results,
    }
}

/// Renders an answer as one JSON message.
pub fn whole(turn: &Turn, answer: &Answer) -> Value {
    let mut message = message(turn);
    message["content"] = json!([block(answer)]);
    message["stop_reason"] = stop_reason(answer).into();
    message
}

/// Renders an answer as server-sent events.
pub fn events(turn: &Turn, answer: &Answer) -> String {
    let (start, delta) = match answer {
        Answer::Text(text) => (
            json!({"type": "text", "text": ""}),
            json!({"type": "text_delta", "text": text}),
        ),
        Answer::ToolCall(call) => (
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}),
            json!({"type": "input_json_delta", "partial_json": call.input.to_string()}),
        ),
    };
    let parts = [
        json!({"type": "message_start", "message": message(turn)}),
        json!({"type": "content_block_start", "index": 0, "content_block": start}),
        json!({"type": "content_block_delta", "index": 0, "delta": delta}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null},
            "usage": {"output_tokens": 1},
        }),
        json!({"type": "message_stop"}),
    ];
    parts
        .iter()
        .map(|part| event(&string(part, "type"), part))
        .collect()
}

fn message(turn: &Turn) -> Value {
    json!({
        "id": format!("msg_{}", turn.results.len()),
        "type": "message",
        "role": "assistant",
        "model": turn.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    })
}

fn block(answer: &Answer) -> Value {
    match answer {
        Answer::Text(text) => json!({"type": "text", "text": text}),
        Answer::ToolCall(call) => {
            json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.input})
        }
    }
}

fn stop_reason(answer: &Answer) -> &'static str {
    match answer {
        Answer::Text(_) => "end_turn",
        Answer::ToolCall(_) => "tool_use",
    }
}
