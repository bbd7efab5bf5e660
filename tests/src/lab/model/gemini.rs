//! The Gemini API (`POST /v1beta/models/NAME:streamGenerateContent`): read a
//! request, render an answer.
//!
//! Only what tool calls need. Source: ai.google.dev, API reference,
//! "Generating content" and "Function calling".

use serde_json::{Value, json};

use super::{Answer, Input, Tool, ToolResult, Turn, array, data, string};

/// Reads a request; the model's name and whether to stream are in its URL.
pub fn read(request: &Value, model: &str, stream: bool) -> Turn {
    let tools = array(request, "tools")
        .iter()
        .flat_map(|tool| array(tool, "functionDeclarations"))
        .map(|tool| Tool {
            name: string(tool, "name"),
            input: Input::Schema(match &tool["parametersJsonSchema"] {
                Value::Null => tool["parameters"].clone(),
                schema => schema.clone(),
            }),
        })
        .collect();
    let results = array(request, "contents")
        .iter()
        .flat_map(|content| array(content, "parts"))
        .map(|part| &part["functionResponse"])
        .filter(|response| !response.is_null())
        .map(|response| ToolResult {
            id: string(response, "id"),
            text: response["response"].to_string(),
        })
        .collect();
    Turn {
        model: model.to_owned(),
        stream,
        tools,
        results,
    }
}

/// Renders an answer as one JSON response.
pub fn whole(turn: &Turn, answer: &Answer) -> Value {
    let part = match answer {
        Answer::Text(text) => json!({"text": text}),
        Answer::ToolCall(call) => json!({
            "functionCall": {"id": call.id, "name": call.name, "args": call.input},
        }),
    };
    json!({
        "candidates": [{
            "index": 0,
            "content": {"role": "model", "parts": [part]},
            "finishReason": "STOP",
        }],
        "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2},
        "modelVersion": turn.model,
    })
}

/// Renders an answer as server-sent events.
pub fn events(turn: &Turn, answer: &Answer) -> String {
    data(&whole(turn, answer))
}
