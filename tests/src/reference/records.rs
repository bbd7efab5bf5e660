//! The page of the records: each message and enum of record.proto with its
//! comments, and the name of each field in JSON.
//!
//! Not here: finding those names (`json_names`).

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use protox::Compiler;
use protox::prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
};

use super::json_names::{JsonName, JsonNames};
use super::markdown::{code, first_sentence, head, row, sentence};

const FILE: &str = "agent_recorder/v1/record.proto";
const RECORD: &str = "agent_recorder.v1.Record";

const INTRODUCTION: &str = "\
# Records

A record is one protobuf message of the type `Record`, about one thing that happened. The spool and the stream to a
collector hold records in protobuf's encoding, as
[record.proto](../../proto/agent_recorder/v1/record.proto) defines it. `replay --format json` and `who --format json`
print each as one JSON object a line, which `replay --filter` also sees.

In JSON:

- an enum is the name of its value, an errno is its name (`\"ENOENT\"`), and a time is RFC 3339 in UTC with nanoseconds;
- an address is `\"192.0.2.1:443\"`, `\"[2001:db8::1]:443\"`, a path, or `\"@name\"` for an abstract unix socket;
- bytes are text. Where they are not UTF-8, the text has replacement characters, and a key with `B64` at the end of its
  name has the exact bytes in base64;
- a field that has nothing to say may be absent: an `error` on success, an empty path, a number that is unknown;
- `streamId` is the stream's id, which a record itself does not hold.

";

/// The page.
///
/// # Errors
///
/// The protocol does not compile, or a record cannot be made of it.
pub(super) fn page() -> Result<String> {
    let pool = protocol()?;
    let record = pool
        .get_message_by_name(RECORD)
        .context("find the message Record")?;
    let file = record.parent_file();
    let mut page = Writer {
        names: JsonNames::of(&record)?,
        seen: BTreeSet::new(),
        out: String::from(INTRODUCTION),
    };
    writeln!(page.out, "{}\n", comment(&file, &[SYNTAX]))?;
    page.message("## Record", &record)?;
    let bodies = bodies(&record);
    for field in record.fields().filter(|field| !bodies.contains(field)) {
        page.types_of(&field)?;
    }
    page.out += "## Kinds of records\n\n";
    page.out += &head(["kind", "field", "number", "message", "what it is about"]);
    for field in &bodies {
        let message = body(field)?;
        page.out += &row([
            &link(&page.names.kind(field)?),
            &code(field.name()),
            &field.number().to_string(),
            &code(message.name()),
            &first_sentence(&comment(&file, message.path())),
        ]);
    }
    page.out.push('\n');
    for field in &bodies {
        let heading = format!("## {}", code(&page.names.kind(field)?));
        page.message(&heading, &body(field)?)?;
        for field in body(field)?.fields() {
            page.types_of(&field)?;
        }
    }
    Ok(page.out)
}

/// The protocol with its comments.
fn protocol() -> Result<DescriptorPool> {
    let mut compiler = Compiler::new([super::root().join("proto")])?;
    compiler
        .include_source_info(true)
        .include_imports(true)
        .open_file(FILE)?;
    Ok(DescriptorPool::from_file_descriptor_set(
        compiler.file_descriptor_set(),
    )?)
}

/// The fields of which a record has one.
fn bodies(record: &MessageDescriptor) -> Vec<FieldDescriptor> {
    record.fields().filter(is_body).collect()
}

fn body(field: &FieldDescriptor) -> Result<MessageDescriptor> {
    let kind = field.kind();
    let message = kind.as_message().cloned();
    message.with_context(|| format!("{} is no message", field.name()))
}

/// The page so far.
struct Writer {
    names: JsonNames,
    /// Types that have their section.
    seen: BTreeSet<String>,
    out: String,
}

impl Writer {
    /// A section on a message: its comment and a table of its fields.
    fn message(&mut self, heading: &str, message: &MessageDescriptor) -> Result<()> {
        self.seen.insert(message.full_name().to_owned());
        let file = message.parent_file();
        writeln!(self.out, "{heading}\n")?;
        let about = comment(&file, message.path());
        if !about.is_empty() {
            writeln!(self.out, "{}\n", sentence(&about))?;
        }
        self.out += &head(["field", "number", "type", "in JSON", "meaning"]);
        let mut lists = String::new();
        // A record's bodies are the kinds, which have a table of their own.
        for field in message.fields().filter(|field| !is_body(field)) {
            let about = comment(&file, field.path());
            let (meaning, list) = about.split_once("\n- ").unwrap_or((&about, ""));
            if !list.is_empty() {
                writeln!(lists, "{}: {meaning}\n\n- {list}\n", code(field.name()))?;
            }
            let json = match self.names.of_field(&field) {
                JsonName::Keys(keys) => keys.iter().map(|key| code(key)).collect::<Vec<_>>(),
                JsonName::Within => vec!["in the text of the address".to_owned()],
                JsonName::Absent => vec!["not shown".to_owned()],
            };
            self.out += &row([
                &code(field.name()),
                &field.number().to_string(),
                &type_name(&field),
                &json.join(", "),
                &if list.is_empty() {
                    sentence(meaning)
                } else {
                    format!(
                        "{} See below.",
                        meaning.trim_end_matches(':').to_owned() + "."
                    )
                },
            ]);
        }
        // Each list ends with an empty line, as a section does.
        write!(self.out, "\n{lists}")?;
        Ok(())
    }

    /// Sections on the type of a field, and on the types of its fields, unless they are there.
    fn types_of(&mut self, field: &FieldDescriptor) -> Result<()> {
        match field.kind() {
            Kind::Message(message) if !self.seen.contains(message.full_name()) => {
                self.message(&format!("### {}", message.name()), &message)?;
                for field in message.fields() {
                    self.types_of(&field)?;
                }
            }
            Kind::Enum(values) if self.seen.insert(values.full_name().to_owned()) => {
                self.values(&values)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A section on an enum. Its first value is protobuf's for "not set", and is left out.
    fn values(&mut self, values: &EnumDescriptor) -> Result<()> {
        let file = values.parent_file();
        writeln!(self.out, "### {}\n", values.name())?;
        let about = comment(&file, values.path());
        if !about.is_empty() {
            writeln!(self.out, "{}\n", sentence(&about))?;
        }
        self.out += &head(["value", "number", "meaning"]);
        for value in values.values().filter(|value| value.number() != 0) {
            self.out += &row([
                &code(value.name()),
                &value.number().to_string(),
                &sentence(&comment(&file, value.path())),
            ]);
        }
        self.out.push('\n');
        Ok(())
    }
}

/// `repeated bytes`, or a link to a message's or an enum's section.
fn type_name(field: &FieldDescriptor) -> String {
    let of_kind = match field.kind() {
        Kind::Message(message) => link_as(message.name()),
        Kind::Enum(values) => link_as(values.name()),
        scalar => format!("{scalar:?}").to_lowercase(),
    };
    if field.is_list() {
        format!("repeated {of_kind}")
    } else if field.field_descriptor_proto().proto3_optional() {
        format!("optional {of_kind}")
    } else {
        of_kind
    }
}

fn is_body(field: &FieldDescriptor) -> bool {
    field.parent_message().full_name() == RECORD && field.containing_oneof().is_some()
}

/// A link to a heading that is code.
fn link(kind: &str) -> String {
    format!("[{}](#{})", code(kind), kind.to_lowercase())
}

/// A link to a heading that is a type's name.
fn link_as(name: &str) -> String {
    format!("[{name}](#{})", name.to_lowercase())
}

/// Number of `syntax` in FileDescriptorProto (google/protobuf/descriptor.proto), whose comment is the file's.
const SYNTAX: i32 = 12;

/// The comment before the element of this path (SourceCodeInfo.Location.path), empty without one.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|at| at.path == path));
    let text = location.map_or("", |at| at.leading_comments());
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_a_kind_has_a_comment() -> Result<()> {
        let pool = protocol()?;
        let record = pool.get_message_by_name(RECORD).context("Record")?;
        for field in bodies(&record) {
            let message = body(&field)?;
            let about = comment(&message.parent_file(), message.path());
            assert!(!about.is_empty(), "{}: no comment", message.name());
        }
        Ok(())
    }

    #[test]
    fn every_field_has_a_comment() -> Result<()> {
        let pool = protocol()?;
        let record = pool.get_message_by_name(RECORD).context("Record")?;
        for message in record.parent_file().messages() {
            for field in message.fields() {
                let about = comment(&message.parent_file(), field.path());
                assert!(
                    !about.is_empty() || is_body(&field),
                    "{}: no comment",
                    field.full_name()
                );
            }
        }
        Ok(())
    }
}
