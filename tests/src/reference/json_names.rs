//! Finds the JSON name of each field of a record by changing the field.
//!
//! A complete record is shown as JSON, one field is changed, and it is shown again:
//! the keys with different values belong to the field. Some keys appear for some acts
//! only, so this is repeated for each value of the message's enums.
//! Not here: the JSON form itself (`agent_recorder::replay`).

use std::collections::{BTreeMap, BTreeSet};

use agent_recorder::record::{StreamId, proto};
use agent_recorder::replay::write_json;
use anyhow::{Context as _, Result};
use prost::Message as _;
use protox::prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use serde_json::Value as Json;

/// How JSON shows a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JsonName {
    /// Under these keys of its message's object.
    Keys(Vec<String>),
    /// As a part of its message's text.
    Within,
    /// Not at all.
    Absent,
}

/// The names of all fields, by the fields' full names.
#[derive(Debug, Default)]
pub(super) struct JsonNames(BTreeMap<String, JsonName>);

/// The fields that lead from a record to a message, outermost first.
type Route = Vec<FieldDescriptor>;

impl JsonNames {
    /// The names of a record's fields, and of those of all messages in it.
    ///
    /// # Errors
    ///
    /// The recorder cannot decode or show a record that was made of the descriptors.
    pub(super) fn of(record: &MessageDescriptor) -> Result<Self> {
        let mut names = Self::default();
        let trial = Trial {
            record: record.clone(),
            stream: StreamId::generate(),
        };
        names.message(&trial, record, &Route::new(), "")?;
        Ok(names)
    }

    /// The name of one field.
    pub(super) fn of_field(&self, field: &FieldDescriptor) -> &JsonName {
        self.0.get(field.full_name()).unwrap_or(&JsonName::Absent)
    }

    /// The one key of a record's body.
    ///
    /// # Errors
    ///
    /// It has none, or several.
    pub(super) fn kind(&self, body: &FieldDescriptor) -> Result<String> {
        match self.of_field(body) {
            JsonName::Keys(keys) if keys.len() == 1 => Ok(keys[0].clone()),
            other => anyhow::bail!("{}: no one key but {other:?}", body.name()),
        }
    }

    /// Adds a message's fields, and those of its messages. `at` is the path of its object.
    fn message(
        &mut self,
        trial: &Trial,
        message: &MessageDescriptor,
        route: &Route,
        at: &str,
    ) -> Result<()> {
        // A switch or an enum can change the keys of other fields, which own those keys.
        let mut taken = BTreeSet::new();
        let mut fields: Vec<_> = message.fields().collect();
        fields.sort_by_key(|field| matches!(field.kind(), Kind::Bool | Kind::Enum(_)));
        for field in fields {
            if self.0.contains_key(field.full_name()) {
                continue;
            }
            let paths = trial.paths_of(&field, route)?;
            let mut keys: BTreeSet<String> = paths.iter().map(|path| below(path, at)).collect();
            if matches!(field.kind(), Kind::Bool | Kind::Enum(_)) {
                keys.retain(|key| !taken.contains(key));
            }
            taken.extend(keys.iter().cloned());
            let name = if keys.is_empty() {
                JsonName::Absent
            } else if keys.remove("") {
                JsonName::Within
            } else {
                JsonName::Keys(keys.into_iter().collect())
            };
            self.0.insert(field.full_name().to_owned(), name.clone());
            if let Kind::Message(inner) = field.kind() {
                let key = match name {
                    JsonName::Keys(keys) => keys.into_iter().next().unwrap_or_default(),
                    _ => String::new(),
                };
                let dot = if at.is_empty() || key.is_empty() {
                    ""
                } else {
                    "."
                };
                let element = if field.is_list() { "[]" } else { "" };
                let mut route = route.clone();
                route.push(field);
                self.message(trial, &inner, &route, &format!("{at}{dot}{key}{element}"))?;
            }
        }
        Ok(())
    }
}

/// The first key of a path below another; empty for that path itself.
fn below(path: &str, at: &str) -> String {
    let rest = path.strip_prefix(at).unwrap_or(path);
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    rest.split(['.', '[']).next().unwrap_or_default().to_owned()
}

/// Which of two different values a field has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    One,
    Other,
}

/// Makes records and compares their JSON.
struct Trial {
    record: MessageDescriptor,
    stream: StreamId,
}

impl Trial {
    /// The paths that show a field of the message at the end of a route.
    fn paths_of(&self, field: &FieldDescriptor, route: &Route) -> Result<BTreeSet<String>> {
        let mut paths = BTreeSet::new();
        for variant in variants(field.parent_message(), field) {
            let one = self.shown(field, route, variant.as_ref(), Side::One)?;
            let other = self.shown(field, route, variant.as_ref(), Side::Other)?;
            let differs = |path: &&String| one.get(*path) != other.get(*path);
            paths.extend(one.keys().filter(differs).cloned());
        }
        Ok(paths)
    }

    /// A record's JSON: each value by its path.
    fn shown(
        &self,
        field: &FieldDescriptor,
        route: &Route,
        variant: Option<&(FieldDescriptor, i32)>,
        side: Side,
    ) -> Result<BTreeMap<String, String>> {
        let message = made(&self.record, route, &|message| {
            if let Some((by, number)) = variant {
                message.set_field(by, Value::EnumNumber(*number));
            }
            set(message, field, side);
        });
        let record = proto::Record::decode(message.encode_to_vec().as_slice())
            .with_context(|| format!("decode a record with {}", field.full_name()))?;
        let mut values = BTreeMap::new();
        let mut line = Vec::new();
        write_json(&mut line, self.stream, &record)?;
        let shown = serde_json::from_slice(&line).context("read the JSON line of a record")?;
        flatten(&shown, "", &mut values);
        Ok(values)
    }
}

/// Each value of each other enum of the message; one `None` without such an enum.
fn variants(
    message: &MessageDescriptor,
    besides: &FieldDescriptor,
) -> Vec<Option<(FieldDescriptor, i32)>> {
    let all: Vec<_> = message
        .fields()
        .filter(|field| field != besides)
        .filter_map(|field| match field.kind() {
            Kind::Enum(values) => Some((field, values)),
            _ => None,
        })
        .flat_map(|(field, values): (FieldDescriptor, EnumDescriptor)| {
            let numbers: Vec<i32> = values.values().map(|value| value.number()).collect();
            numbers
                .into_iter()
                .map(move |number| Some((field.clone(), number)))
        })
        .collect();
    if all.is_empty() { vec![None] } else { all }
}

/// A message with every field set, changed at the end of the route.
fn made(
    message: &MessageDescriptor,
    route: &[FieldDescriptor],
    change: &impl Fn(&mut DynamicMessage),
) -> DynamicMessage {
    let mut made = DynamicMessage::new(message.clone());
    for field in message.fields() {
        // The first field of a oneof is set; the route or the change can choose another.
        let chosen = field
            .containing_oneof()
            .and_then(|choice| choice.fields().next())
            .is_none_or(|first| first == field);
        if chosen {
            set(&mut made, &field, Side::One);
        }
    }
    match route.split_first() {
        None => change(&mut made),
        Some((field, route)) => {
            if let Kind::Message(inner) = field.kind() {
                let inner = Value::Message(self::made(&inner, route, change));
                made.set_field(field, listed(field, inner));
            }
        }
    }
    made
}

/// Sets a field to one of two values. The second value of a message is its absence.
fn set(message: &mut DynamicMessage, field: &FieldDescriptor, side: Side) {
    let value = match (field.kind(), side) {
        (Kind::Message(inner), Side::One) => Value::Message(made(&inner, &[], &|_| {})),
        (Kind::Message(_), Side::Other) => {
            // Setting the field first clears another one of its oneof.
            message.set_field(field, field.default_value());
            message.clear_field(field);
            return;
        }
        (kind, side) => scalar(&kind, side),
    };
    message.set_field(field, listed(field, value));
}

fn listed(field: &FieldDescriptor, value: Value) -> Value {
    if field.is_list() {
        Value::List(vec![value])
    } else {
        value
    }
}

/// 16 bytes of text, which are also a valid id or address.
const TEXT: [&str; 2] = ["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"];

fn scalar(kind: &Kind, side: Side) -> Value {
    let number: u8 = if side == Side::One { 1 } else { 2 };
    let text = TEXT[usize::from(number) - 1];
    match kind {
        Kind::Bool => Value::Bool(side == Side::One),
        Kind::String => Value::String(text.to_owned()),
        Kind::Bytes => Value::Bytes(text.as_bytes().to_vec().into()),
        Kind::Int32 => Value::I32(number.into()),
        Kind::Int64 => Value::I64(number.into()),
        Kind::Uint64 => Value::U64(number.into()),
        Kind::Enum(_) => Value::EnumNumber(number.into()),
        // The protocol has no field of another kind; a wrong value is refused where it is set.
        _ => Value::U32(number.into()),
    }
}

/// Each value by its path; all elements of an array have the same.
fn flatten(json: &Json, path: &str, values: &mut BTreeMap<String, String>) {
    match json {
        Json::Object(object) => {
            let dot = if path.is_empty() { "" } else { "." };
            for (key, value) in object {
                flatten(value, &format!("{path}{dot}{key}"), values);
            }
        }
        Json::Array(array) => {
            for value in array {
                flatten(value, &format!("{path}[]"), values);
            }
        }
        scalar => {
            values.insert(path.to_owned(), scalar.to_string());
        }
    }
}
