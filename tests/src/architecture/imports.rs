//! Finds the imports between the files of a crate: it follows `mod` items from the
//! crate's root, and resolves every path of every file.
//!
//! A name is resolved to the file that defines it: `use crate::spool::Cursor` is an
//! import from `spool::read` if `spool` only re-exports it. A module's re-exports of
//! its own children are no imports.
//!
//! Paths inside macro invocations and macro definitions count. Code under
//! `#[cfg(test)]` and other crates are left out.
//!
//! Not here: judging imports (`floors`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// A module's path from the crate's root, which is empty.
type Segments = Vec<String>;

/// Longest chain of re-exports and imports that is followed.
const ALIASES_DEEP: usize = 16;

/// Which module imports from which, by their paths (`spool::read`; the root's
/// is `crate`). A module is a file: one inside a file is part of that file.
#[derive(Debug, Default)]
pub(super) struct Imports {
    /// Every file's module.
    pub(super) modules: BTreeSet<String>,
    /// Importing and imported module, and the path as the file has it.
    pub(super) edges: BTreeMap<(String, String), String>,
}

impl Imports {
    /// The imports of the crate whose root file is `root`. `read` returns the text of a
    /// file, or nothing where there is none.
    pub(super) fn of(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> anyhow::Result<Self> {
        let mut modules = BTreeMap::new();
        let below = root.parent().context("the root file is in no directory")?;
        load(Vec::new(), &[root.to_path_buf()], below, read, &mut modules)?;
        let mut imports = Self::default();
        for (path, module) in &modules {
            imports.modules.insert(name(&module.file));
            for import in &module.imports {
                imports.take(&modules, path, module, import);
            }
        }
        Ok(imports)
    }

    /// Adds one path that `module` names, if it leads to another file.
    fn take(
        &mut self,
        modules: &BTreeMap<Segments, Module>,
        path: &Segments,
        module: &Module,
        import: &Import,
    ) {
        let Some(target) = resolve(modules, path, &import.segments, 0) else {
            return;
        };
        let to = &modules[&target].file;
        let door = import.reexport && to.starts_with(path);
        if *to != module.file && !door {
            self.edges
                .entry((name(&module.file), name(to)))
                .or_insert_with(|| import.segments.join("::"));
        }
    }
}

/// A module of the crate, of a file or inside one.
struct Module {
    /// The module of the surrounding file; the module itself unless it is written inside a file.
    file: Segments,
    /// Names that it defines.
    items: BTreeSet<String>,
    /// Names that its `use` items bind, and the paths that they stand for.
    aliases: BTreeMap<String, Segments>,
    /// Paths whose names are all bound here.
    globs: Vec<Segments>,
    imports: Vec<Import>,
}

/// A path that a module names.
struct Import {
    segments: Segments,
    /// Whether it is a re-export.
    reexport: bool,
}

fn name(path: &Segments) -> String {
    if path.is_empty() {
        String::from("crate")
    } else {
        path.join("::")
    }
}

/// Parses the module `path`, whose text is in `files` (more than one where a build
/// chooses), with its children in `below`.
fn load(
    path: Segments,
    files: &[PathBuf],
    below: &Path,
    read: &dyn Fn(&Path) -> Option<String>,
    modules: &mut BTreeMap<Segments, Module>,
) -> anyhow::Result<()> {
    let mut items = Vec::new();
    for file in files {
        let text = read(file).with_context(|| format!("{} is not there", file.display()))?;
        let parsed =
            syn::parse_file(&text).with_context(|| format!("while parsing {}", file.display()))?;
        items.extend(parsed.items);
    }
    add(path.clone(), path, items, below, read, modules)
}

/// Adds the module `path` of the file `file`, and its children.
fn add(
    path: Segments,
    file: Segments,
    items: Vec<syn::Item>,
    below: &Path,
    read: &dyn Fn(&Path) -> Option<String>,
    modules: &mut BTreeMap<Segments, Module>,
) -> anyhow::Result<()> {
    let mut reader = Reader::default();
    for item in items {
        match item {
            syn::Item::Mod(child) if !only_for_tests(&child.attrs) => {
                let mut child_path = path.clone();
                child_path.push(child.ident.to_string());
                let child_below = below.join(child.ident.to_string());
                if let Some((_, items)) = child.content {
                    add(child_path, file.clone(), items, &child_below, read, modules)?;
                } else {
                    let files = files_of(&child, below, read)?;
                    load(child_path, &files, &child_below, read, modules)?;
                }
            }
            other => reader.visit_item(&other),
        }
    }
    let Reader {
        items,
        aliases,
        globs,
        imports,
    } = reader;
    modules.insert(
        path,
        Module {
            file,
            items,
            aliases,
            globs,
            imports,
        },
    );
    Ok(())
}

/// The files that `mod name;` may load.
fn files_of(
    module: &syn::ItemMod,
    below: &Path,
    read: &dyn Fn(&Path) -> Option<String>,
) -> anyhow::Result<Vec<PathBuf>> {
    let named: Vec<PathBuf> = module
        .attrs
        .iter()
        .flat_map(named_paths)
        .map(|named| below.join(named))
        .collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let name = module.ident.to_string();
    let flat = below.join(format!("{name}.rs"));
    let folder = below.join(&name).join("mod.rs");
    match [flat, folder].into_iter().find(|file| read(file).is_some()) {
        Some(file) => Ok(vec![file]),
        None => bail!("no file for `mod {name}` in {}", below.display()),
    }
}

/// The values of `path =` in a `#[path]` or `#[cfg_attr(.., path)]`.
fn named_paths(attribute: &syn::Attribute) -> Vec<String> {
    let tokens = match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => {
            let value = &pair.value;
            quote::quote!(path = #value)
        }
        syn::Meta::List(list) if list.path.is_ident("cfg_attr") => list.tokens.clone(),
        _ => return Vec::new(),
    };
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    tokens
        .windows(3)
        .filter(|three| three[0].to_string() == "path" && three[1].to_string() == "=")
        .map(|three| three[2].to_string().trim_matches('"').to_owned())
        .collect()
}

/// Whether the attributes keep the item to test builds.
fn only_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().trim() == "test"
        }
        _ => attribute.path().is_ident("test"),
    })
}

/// Collects what one module defines and names.
#[derive(Default)]
struct Reader {
    items: BTreeSet<String>,
    aliases: BTreeMap<String, Segments>,
    globs: Vec<Segments>,
    imports: Vec<Import>,
}

impl Reader {
    /// One `use` tree, down from `prefix`.
    fn use_tree(&mut self, tree: &syn::UseTree, prefix: &Segments, reexport: bool) {
        let joined = |last: &syn::Ident| {
            let mut path = prefix.clone();
            if last != "self" || path.is_empty() {
                path.push(last.to_string());
            }
            path
        };
        match tree {
            syn::UseTree::Path(path) => {
                let mut prefix = prefix.clone();
                prefix.push(path.ident.to_string());
                self.use_tree(&path.tree, &prefix, reexport);
            }
            syn::UseTree::Name(name) => {
                let path = joined(&name.ident);
                let bound = path.last().cloned().unwrap_or_default();
                self.bind(bound, path, reexport);
            }
            syn::UseTree::Rename(rename) => {
                self.bind(rename.rename.to_string(), joined(&rename.ident), reexport);
            }
            syn::UseTree::Glob(_) => {
                self.globs.push(prefix.clone());
                self.imports.push(Import {
                    segments: prefix.clone(),
                    reexport,
                });
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, prefix, reexport);
                }
            }
        }
    }

    fn bind(&mut self, bound: String, segments: Segments, reexport: bool) {
        self.aliases.insert(bound, segments.clone());
        self.imports.push(Import { segments, reexport });
    }

    /// Every `a::b::c` in a macro's tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        // Colons since the last name.
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if !path.is_empty() && colons == 2 => {
                    path.push(ident.to_string());
                }
                TokenTree::Ident(ident) => {
                    self.end(&mut path);
                    path.push(ident.to_string());
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.end(&mut path);
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => self.end(&mut path),
            }
            colons = 0;
        }
        self.end(&mut path);
    }

    fn end(&mut self, path: &mut Segments) {
        if path.len() > 1 {
            self.imports.push(Import {
                segments: std::mem::take(path),
                reexport: false,
            });
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (name, attributes) = described(item);
        if only_for_tests(attributes) {
            return;
        }
        self.items.extend(name);
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let reexport = !matches!(item.vis, syn::Visibility::Inherited);
        self.use_tree(&item.tree, &Segments::new(), reexport);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.imports.push(Import {
            segments: path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
            reexport: false,
        });
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, found: &'ast syn::Macro) {
        self.tokens(found.tokens.clone());
        visit::visit_macro(self, found);
    }

    /// `pub(in crate::x)` is no import.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

/// An item's name, if it has one, and its attributes.
fn described(item: &syn::Item) -> (Option<String>, &[syn::Attribute]) {
    let (ident, attributes) = match item {
        syn::Item::Const(item) => (Some(&item.ident), &item.attrs),
        syn::Item::Enum(item) => (Some(&item.ident), &item.attrs),
        syn::Item::Fn(item) => (Some(&item.sig.ident), &item.attrs),
        syn::Item::Macro(item) => (item.ident.as_ref(), &item.attrs),
        syn::Item::Mod(item) => (Some(&item.ident), &item.attrs),
        syn::Item::Static(item) => (Some(&item.ident), &item.attrs),
        syn::Item::Struct(item) => (Some(&item.ident), &item.attrs),
        syn::Item::Trait(item) => (Some(&item.ident), &item.attrs),
        syn::Item::Type(item) => (Some(&item.ident), &item.attrs),
        syn::Item::Union(item) => (Some(&item.ident), &item.attrs),
        syn::Item::Impl(item) => (None, &item.attrs),
        syn::Item::Use(item) => (None, &item.attrs),
        _ => return (None, &[]),
    };
    (ident.map(ToString::to_string), attributes)
}

/// The module that `segments`, written in the module `from`, leads to; nothing if they
/// lead out of the crate or to no module.
fn resolve(
    modules: &BTreeMap<Segments, Module>,
    from: &Segments,
    segments: &[String],
    depth: usize,
) -> Option<Segments> {
    let (first, rest) = segments.split_first()?;
    if depth > ALIASES_DEEP {
        return None;
    }
    match first.as_str() {
        "crate" => descend(modules, &Segments::new(), rest, depth),
        "self" => descend(modules, from, rest, depth),
        "super" => {
            let (_, parent) = from.split_last()?;
            let mut from = parent.to_vec();
            let mut rest = rest;
            while rest.first().is_some_and(|segment| segment == "super") {
                from.pop()?;
                rest = &rest[1..];
            }
            descend(modules, &from, rest, depth)
        }
        first => {
            let scope = &modules[from];
            if modules.contains_key(&child(from, first)) {
                descend(modules, from, segments, depth)
            } else {
                let alias = scope.aliases.get(first)?;
                // `use name;` or `use name::name`: not an alias of itself.
                if alias.first().is_some_and(|segment| segment == first) {
                    return None;
                }
                let path: Segments = alias.iter().chain(rest).cloned().collect();
                resolve(modules, from, &path, depth + 1)
            }
        }
    }
}

fn child(module: &Segments, name: &str) -> Segments {
    let mut path = module.clone();
    path.push(name.to_owned());
    path
}

/// The module that defines what `segments` name inside `module`.
fn descend(
    modules: &BTreeMap<Segments, Module>,
    module: &Segments,
    segments: &[String],
    depth: usize,
) -> Option<Segments> {
    let Some((first, rest)) = segments.split_first() else {
        return Some(module.clone());
    };
    let below = child(module, first);
    if modules.contains_key(&below) {
        return descend(modules, &below, rest, depth);
    }
    let here = &modules[module];
    if here.items.contains(first) {
        return Some(module.clone());
    }
    if let Some(alias) = here.aliases.get(first) {
        let path: Segments = alias.iter().chain(rest).cloned().collect();
        return resolve(modules, module, &path, depth + 1);
    }
    let through_glob = here.globs.iter().find_map(|glob| {
        let target = resolve(modules, module, glob, depth + 1)?;
        (target != *module && modules[&target].items.contains(first)).then_some(target)
    });
    Some(through_glob.unwrap_or_else(|| module.clone()))
}
