//! The rule for the signatures of the kernel programs: an object of the kernel has its
//! own type, and is no bare integer.
//!
//! Functions in macro invocations and in macro definitions count: most of the
//! programs' functions are in one.
//!
//! Not here: numbers that name no object, such as lengths and flags.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Names of kernel objects. The programs have a type for each.
const OBJECTS: [&str; 13] = [
    "dentry",
    "descriptor",
    "exe",
    "fd",
    "file",
    "files",
    "inode",
    "kiocb",
    "mount",
    "path",
    "sock",
    "socket",
    "task",
];

const INTEGERS: [&str; 12] = [
    "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize",
];

/// The functions in a file's text that take or return an object as a bare integer, a sentence each.
pub(super) fn violations(file: &str, text: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    look(syn::parse_str(text)?, &mut found);
    Ok(found
        .into_iter()
        .map(|sentence| format!("{file}: {sentence}"))
        .collect())
}

/// Examines every `fn name(…)` of the tokens, and of the groups among them.
fn look(tokens: TokenStream, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            look(group.stream(), found);
        }
        if is_ident(token, "fn")
            && let Some(TokenTree::Ident(name)) = tokens.get(index + 1)
        {
            look_at_signature(&name.to_string(), &tokens[index + 2..], found);
        }
    }
}

/// `rest` follows the function's name: perhaps generics, the parameters, the
/// result, the body.
fn look_at_signature(name: &str, rest: &[TokenTree], found: &mut Vec<String>) {
    let Some(at) = rest.iter().position(|token| {
        matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis)
    }) else {
        return;
    };
    if let TokenTree::Group(parameters) = &rest[at] {
        let parameters: Vec<TokenTree> = parameters.stream().into_iter().collect();
        for parameter in parameters.split(|token| is_punct(token, ',')) {
            if let Some((object, integer)) = bare(parameter) {
                found.push(format!("`{name}` takes `{object}: {integer}`"));
            }
        }
    }
    let result = &rest[at + 1..];
    if let [dash, arrow, TokenTree::Ident(result), end, ..] = result
        && is_punct(dash, '-')
        && is_punct(arrow, '>')
        && matches!(end, TokenTree::Group(_))
        && INTEGERS.contains(&result.to_string().as_str())
        && gives_object(name)
    {
        found.push(format!("`{name}` gives its object as `{result}`"));
    }
}

/// An object's name and its bare integer, if a parameter has both.
fn bare(parameter: &[TokenTree]) -> Option<(String, String)> {
    let [.., TokenTree::Ident(name), colon, TokenTree::Ident(kind)] = parameter else {
        return None;
    };
    let (name, kind) = (name.to_string(), kind.to_string());
    let is_bare = is_punct(colon, ':')
        && OBJECTS.contains(&name.as_str())
        && INTEGERS.contains(&kind.as_str());
    is_bare.then_some((name, kind))
}

/// Whether a function is named after the object that it returns: `inode`, `inode_of`.
fn gives_object(name: &str) -> bool {
    let object = name
        .strip_suffix("_of")
        .or_else(|| name.strip_suffix("_at"))
        .unwrap_or(name);
    OBJECTS.contains(&object)
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

fn is_punct(token: &TokenTree, character: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == character)
}

#[test]
fn an_object_as_an_integer_is_found_in_a_function_a_method_and_a_macro() -> anyhow::Result<()> {
    let text = "
        fn judge(session: u64, dentry: u64) -> u64 { 0 }
        impl Walk { pub(crate) fn begin(&self, mut file: u64, at: usize) {} }
        global! { fn note(area: ScratchId as scratch, inode: u64) [else 0] { 0 } }
        macro_rules! twice { ($name:ident) => { fn again(sock: u32) {} } }
        fn file_of(task: Task, number: u64) -> u64 { 0 }
    ";
    assert_eq!(
        violations("small.rs", text)?,
        [
            "small.rs: `judge` takes `dentry: u64`",
            "small.rs: `begin` takes `file: u64`",
            "small.rs: `note` takes `inode: u64`",
            "small.rs: `again` takes `sock: u32`",
            "small.rs: `file_of` gives its object as `u64`",
        ]
    );
    Ok(())
}

#[test]
fn an_object_with_its_type_is_right() -> anyhow::Result<()> {
    let text = "
        fn judge(session: u64, dentry: Dentry, length: u64) -> u64 { 0 }
        impl File { fn inode(self) -> Inode { self.field(0) } fn position(self) -> u64 { 0 } }
        fn references(files: &[u64], file: Option<u64>) -> u64 { 0 }
    ";
    assert_eq!(violations("small.rs", text)?, [""; 0]);
    Ok(())
}
