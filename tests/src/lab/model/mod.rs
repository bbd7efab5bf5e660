//! A scripted model: it answers real agents in their own protocols and orders
//! a fixed list of tool calls, one after each result.
//!
//! It is ground truth for the tests with real agents: its log says which tool
//! call was ordered when, and what came back. It is not a language model and
//! decides nothing. Flow: [`server`] takes a request → a dialect
//! ([`anthropic`], [`responses`], [`chat`], [`gemini`]) reads the tools
//! offered and the results so far → [`tools`] puts the script's next call into
//! the client's own terms → the dialect renders the answer → [`log`].

pub mod anthropic;
pub mod chat;
pub mod gemini;
pub mod log;
pub mod responses;
pub mod server;
pub mod tools;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call of the script, in no client's terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Call {
    /// Read a whole file.
    Read {
        /// Absolute path.
        path: String,
    },
    /// Create a file, or replace its content.
    Write {
        /// Absolute path.
        path: String,
        /// The whole content, ending in a newline.
        content: String,
    },
    /// Replace one line of a file.
    Edit {
        /// Absolute path.
        path: String,
        /// The line as it stands, without its newline.
        old: String,
        /// The line as it shall be, without its newline.
        new: String,
    },
    /// Run a command by the client's shell.
    Shell {
        /// The command line.
        command: String,
    },
}

/// The calls that the model orders, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Ordered one by one, each after the result of the one before.
    pub calls: Vec<Call>,
    /// Said after the last result, which ends the agent's turn.
    pub farewell: String,
}

/// A tool as the client offered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// The name to call it by.
    pub name: String,
    /// Form of its input.
    pub input: Input,
}

/// How a tool takes its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// An object that fits this JSON schema.
    Schema(Value),
    /// Text without a schema (a `custom` tool of the Responses API).
    Text,
}

/// The result of a tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The call's id, as the model gave it; empty where the protocol carries none.
    pub id: String,
    /// The client's text, or its JSON as text.
    pub text: String,
}

/// The contents of a request, whatever its dialect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Turn {
    /// The model that the client asked for.
    pub model: String,
    /// Whether the client wants server-sent events.
    pub stream: bool,
    /// The tools on offer; empty for side requests such as a title for the talk.
    pub tools: Vec<Tool>,
    /// Results of tool calls so far, oldest first.
    pub results: Vec<ToolResult>,
}

/// The model's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing but text: the turn ends.
    Text(String),
    /// Call a tool.
    ToolCall(ToolCall),
}

/// A call in the client's own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The id that the result will name.
    pub id: String,
    /// The tool.
    pub name: String,
    /// An object, or a string for a tool of [`Input::Text`].
    pub input: Value,
}

/// The text of one server-sent event (WHATWG HTML, 9.2.6).
fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// The text of one server-sent event without a name.
fn data(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// A JSON string as itself, anything else as JSON text.
fn as_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A string field, empty when it is not there.
fn string(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

/// An array field, empty when it is not there.
fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}
