//! The Responses API (`POST /v1/responses`): read a request, render an answer.
//!
//! Only what tool calls need. Source: platform.openai.com, API reference,
//! "Responses" and "Streaming events".

use serde_json::{Value, json};

use super::{Answer, Input, Tool, ToolResult, Turn, array, as_text, event, string};

/// Reads a request.
pub fn read(request: &Value) -> Turn {
    let tools = array(request, "tools").iter().filter_map(tool).collect();
    let results = array(request, "input")
        .iter()
        .filter(|item| {
            let kind = item["type"].as_str().unwrap_or_default();
            kind == "function_call_output" || kind == "custom_tool_call_output"
        })
        .map(|item| ToolResult {
            id: string(item, "call_id"),
            text: as_text(&item["output"]),
        })
        .collect();
    Turn {
        model: string(request, "model"),
        stream: request["stream"] == true,
        tools,
        results,
    }
}

/// Tools that the model's own servers run (`web_search`) have neither type.
fn tool(tool: &Value) -> Option<Tool> {
    let input = match tool["type"].as_str()? {
        "function" => Input::Schema(tool["parameters"].clone()),
        "custom" => Input::Text,
        _ => return None,
    };
    Some(Tool {
        name: string(tool, "name"),
        input,
    })
}

/// Renders an answer as one JSON response.
pub fn whole(turn: &Turn, answer: &Answer) -> Value {
    let mut response = response(turn, "completed");
    response["output"] = json!([item(answer, "completed")]);
    response
}

/// Renders an answer as server-sent events.
pub fn events(turn: &Turn, answer: &Answer) -> String {
    let done = item(answer, "completed");
    let parts = [
        json!({"type": "response.created", "response": response(turn, "in_progress")}),
        json!({
            "type": "response.output_item.added",
            "output_index": 0,
            "item": item(answer, "in_progress"),
        }),
        delta(answer),
        json!({"type": "response.output_item.done", "output_index": 0, "item": done}),
        json!({"type": "response.completed", "response": whole(turn, answer)}),
    ];
    parts
        .iter()
        .map(|part| event(&string(part, "type"), part))
        .collect()
}

fn delta(answer: &Answer) -> Value {
    match answer {
        Answer::Text(text) => json!({
            "type": "response.output_text.delta",
            "item_id": "item_0",
            "output_index": 0,
            "content_index": 0,
            "delta": text,
        }),
        Answer::ToolCall(call) => {
            let kind = match call.input {
                Value::String(_) => "response.custom_tool_call_input.delta",
                _ => "response.function_call_arguments.delta",
            };
            json!({
                "type": kind,
                "item_id": "item_0",
                "output_index": 0,
                "delta": as_text(&call.input),
            })
        }
    }
}

fn response(turn: &Turn, status: &str) -> Value {
    json!({
        "id": format!("resp_{}", turn.results.len()),
        "object": "response",
        "status": status,
        "model": turn.model,
        "output": [],
        "usage": {
            "input_tokens": 1,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 1,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 2,
        },
    })
}

fn item(answer: &Answer, status: &str) -> Value {
    match answer {
        Answer::Text(text) => json!({
            "type": "message",
            "id": "item_0",
            "role": "assistant",
            "status": status,
            "content": [{"type": "output_text", "text": text, "annotations": []}],
        }),
        Answer::ToolCall(call) => {
            let (kind, key) = match call.input {
                Value::String(_) => ("custom_tool_call", "input"),
                _ => ("function_call", "arguments"),
            };
            json!({
                "type": kind,
                "id": "item_0",
                "call_id": call.id,
                "name": call.name,
                "status": status,
                key: as_text(&call.input),
            })
        }
    }
}
