//! The configuration's types in their source: fields, comments, and serde's names.
//!
//! Not here: defaults and the names that the parser accepts, which the types
//! themselves show (`configuration`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use syn::{Attribute, Expr, Fields, GenericArgument, Item, Lit, Meta, PathArguments, Type};

/// The type of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Integer,
    Text,
    Duration,
    Path,
    Address,
    List(Box<Kind>),
    /// One of an enum's names.
    Choice(Vec<Choice>),
    Table(Vec<Key>),
    /// `[[name]]`, any number of times.
    Tables(Vec<Key>),
}

/// A name that a key takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) comment: String,
}

/// A key of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) kind: Kind,
}

/// The types of a folder's files, by name.
#[derive(Default)]
pub(super) struct Types {
    structs: BTreeMap<String, syn::ItemStruct>,
    enums: BTreeMap<String, syn::ItemEnum>,
}

impl Types {
    /// # Errors
    ///
    /// A file cannot be read, or is no Rust.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let mut types = Self::default();
        for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path)?;
            let file =
                syn::parse_file(&text).with_context(|| format!("parse {}", path.display()))?;
            for item in file.items {
                match item {
                    Item::Struct(item) => {
                        types.structs.insert(item.ident.to_string(), item);
                    }
                    Item::Enum(item) => {
                        types.enums.insert(item.ident.to_string(), item);
                    }
                    _ => {}
                }
            }
        }
        Ok(types)
    }

    /// The keys of a struct, in its order.
    ///
    /// # Errors
    ///
    /// There is no such struct, or it has an unknown form.
    pub(super) fn keys(&self, name: &str) -> Result<Vec<Key>> {
        let item = self
            .structs
            .get(name)
            .with_context(|| format!("find the struct {name}"))?;
        let Fields::Named(fields) = &item.fields else {
            bail!("{name} has no named fields");
        };
        fields
            .named
            .iter()
            .map(|field| {
                let ident = field.ident.as_ref().context("a field without a name")?;
                let renamed = serde_value(&field.attrs, "rename")?;
                Ok(Key {
                    name: renamed.unwrap_or_else(|| ident.to_string()),
                    comment: comment(&field.attrs),
                    kind: self
                        .kind(&field.ty)
                        .with_context(|| format!("{name}.{ident}"))?,
                })
            })
            .collect()
    }

    fn kind(&self, ty: &Type) -> Result<Kind> {
        let Type::Path(path) = ty else {
            bail!("a type that is no path");
        };
        let last = path.path.segments.last().context("an empty path")?;
        let name = last.ident.to_string();
        Ok(match name.as_str() {
            "bool" => Kind::Boolean,
            "u32" | "u64" | "usize" => Kind::Integer,
            "String" => Kind::Text,
            "Duration" => Kind::Duration,
            "PathBuf" => Kind::Path,
            "SocketAddr" => Kind::Address,
            "Option" => self.kind(argument(&last.arguments)?)?,
            "Vec" => match self.kind(argument(&last.arguments)?)? {
                Kind::Table(keys) => Kind::Tables(keys),
                kind => Kind::List(Box::new(kind)),
            },
            _ if self.enums.contains_key(&name) => Kind::Choice(self.choices(&name)?),
            _ => Kind::Table(self.keys(&name)?),
        })
    }

    fn choices(&self, name: &str) -> Result<Vec<Choice>> {
        let item = &self.enums[name];
        let renamed = serde_value(&item.attrs, "rename_all")?;
        if renamed.as_deref() != Some("lowercase") {
            bail!("{name}: only `rename_all = \"lowercase\"` is known here");
        }
        let choice = |variant: &syn::Variant| Choice {
            name: variant.ident.to_string().to_lowercase(),
            comment: comment(&variant.attrs),
        };
        Ok(item.variants.iter().map(choice).collect())
    }
}

fn argument(arguments: &PathArguments) -> Result<&Type> {
    if let PathArguments::AngleBracketed(arguments) = arguments
        && let Some(GenericArgument::Type(ty)) = arguments.args.first()
    {
        return Ok(ty);
    }
    bail!("a generic type without its argument")
}

/// The text of a doc comment.
fn comment(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value().trim().to_owned()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        });
    lines.collect::<Vec<_>>().join("\n")
}

/// The value in `#[serde(name = "value")]`.
fn serde_value(attributes: &[Attribute], name: &str) -> Result<Option<String>> {
    let mut value = None;
    for attribute in attributes {
        if !attribute.path().is_ident("serde") {
            continue;
        }
        attribute.parse_nested_meta(|meta| {
            let said = meta
                .input
                .peek(syn::Token![=])
                .then(|| meta.value()?.parse::<syn::LitStr>());
            if meta.path.is_ident(name) {
                value = said.transpose()?.map(|said| said.value());
            }
            Ok(())
        })?;
    }
    Ok(value)
}
