//! A session as its tree of processes, each with the files and addresses that it
//! destroyed, wrote or reached.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::view::{Output, View};
use crate::record::{OpenFlags, ProcessKey, StreamId, proto};
use crate::replay::escaped;
use crate::replay::render::{command, line};
use proto::record::Body;

/// Most acts that are listed below one process; further ones are counted.
const LISTED: usize = 12;
/// Most generations that are indented; a screen has room for fewer.
const MAX_INDENT: usize = 60;

#[derive(Debug, Default)]
struct Node {
    parent: Option<ProcessKey>,
    children: Vec<ProcessKey>,
    commands: Vec<String>,
    comm: Vec<u8>,
    acts: Vec<String>,
    more: usize,
    reads: usize,
    end: Option<String>,
}

/// Draws the tree after the last record.
struct TreeView<'a> {
    tree: Tree,
    out: Output<'a>,
}

pub(super) fn view(out: Output<'_>) -> Box<dyn View + '_> {
    Box::new(TreeView {
        tree: Tree::default(),
        out,
    })
}

impl View for TreeView<'_> {
    fn show(&mut self, _: StreamId, record: &proto::Record) -> io::Result<()> {
        self.tree.add(record);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.tree.write(self.out)?;
        self.out.flush()
    }
}

/// The collected contents of the tree.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<(u32, u64), Node>,
    order: Vec<ProcessKey>,
    remarks: Vec<String>,
}

impl Tree {
    /// Adds a record.
    pub(super) fn add(&mut self, record: &proto::Record) {
        let body = record.body.as_ref();
        let Some(process) = &record.process else {
            self.remarks.push(line(body));
            return;
        };
        let key = ProcessKey {
            pid: process.pid,
            start_time: process.start_time_ns,
        };
        let node = self.node(key);
        node.comm.clone_from(&process.comm);
        match body {
            Some(Body::Exec(exec)) if exec.error == 0 => node.commands.push(command(exec)),
            Some(Body::Exit(_)) => node.end = Some(line(body)),
            Some(Body::File(file))
                if file.op() == proto::FileOp::Open && !OpenFlags(file.flags).writes() =>
            {
                node.reads += 1
            }
            Some(Body::Fork(fork)) => {
                let child = ProcessKey {
                    pid: fork.child_pid,
                    start_time: fork.child_start_time_ns,
                };
                self.node(child).parent = Some(key);
                self.node(key).children.push(child);
            }
            Some(Body::SessionStart(_)) => {}
            _ if node.acts.len() < LISTED => node.acts.push(line(body)),
            _ => node.more += 1,
        }
    }

    fn node(&mut self, key: ProcessKey) -> &mut Node {
        let order = &mut self.order;
        self.nodes
            .entry((key.pid, key.start_time))
            .or_insert_with(|| {
                order.push(key);
                Node::default()
            })
    }

    /// Draws the tree.
    ///
    /// # Errors
    ///
    /// Errors of `out`.
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let is_root = |key: &ProcessKey| {
            let node = self.nodes.get(&(key.pid, key.start_time));
            node.is_some_and(|node| node.parent.is_none())
        };
        // A loop and not a recursion, because a session decides the length of a chain
        // of forks.
        let mut left: Vec<Branch> = self
            .order
            .iter()
            .rev()
            .filter(|key| is_root(key))
            .map(|key| Branch::root(*key))
            .collect();
        while let Some(branch) = left.pop() {
            self.draw(&branch, &mut left, out)?;
        }
        self.remarks
            .iter()
            .try_for_each(|remark| writeln!(out, "{remark}"))
    }

    /// Draws one process, and adds its children to `left`.
    fn draw(&self, branch: &Branch, left: &mut Vec<Branch>, out: &mut dyn Write) -> io::Result<()> {
        let Some(node) = self.nodes.get(&(branch.key.pid, branch.key.start_time)) else {
            return Ok(());
        };
        let Branch { first, rest, .. } = branch;
        let name = node
            .commands
            .first()
            .cloned()
            .unwrap_or_else(|| escaped(&node.comm));
        let end = node.end.as_deref().unwrap_or("still running");
        writeln!(
            out,
            "{first}{} {name}  [{}]",
            branch.key.pid,
            end.trim_start_matches("exit").trim()
        )?;
        let below = if node.children.is_empty() {
            "   "
        } else {
            "│  "
        };
        for command in node.commands.iter().skip(1) {
            writeln!(out, "{rest}{below}became {command}")?;
        }
        for act in &node.acts {
            writeln!(out, "{rest}{below}{act}")?;
        }
        if node.more > 0 {
            writeln!(out, "{rest}{below}… and {} more", node.more)?;
        }
        if node.reads > 0 {
            writeln!(out, "{rest}{below}opened {} files for reading", node.reads)?;
        }
        let last = node.children.len().saturating_sub(1);
        let children = node.children.iter().enumerate().rev();
        left.extend(children.map(|(index, child)| branch.child(*child, index == last)));
        Ok(())
    }
}

/// A process to draw, and the prefix of its lines.
#[derive(Debug)]
struct Branch {
    key: ProcessKey,
    depth: usize,
    first: String,
    rest: String,
}

impl Branch {
    fn root(key: ProcessKey) -> Self {
        Self {
            key,
            depth: 0,
            first: String::new(),
            rest: String::new(),
        }
    }

    fn child(&self, key: ProcessKey, last: bool) -> Self {
        let (branch, trunk) = match (self.depth >= MAX_INDENT, last) {
            (true, _) => ("⋯ ", ""),
            (false, true) => ("└─ ", "   "),
            (false, false) => ("├─ ", "│  "),
        };
        Self {
            key,
            depth: self.depth + 1,
            first: format!("{}{branch}", self.rest),
            rest: format!("{}{trunk}", self.rest),
        }
    }
}
