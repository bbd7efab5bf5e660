//! Acts of processes on themselves and on each other.

use serde_json::json;

use super::fields::{Object, arguments, bytes, error, object, path, truncated};
use super::message::Render;
use crate::record::proto;
use crate::replay::escaped;

impl Render for proto::Exec {
    fn json(&self) -> Object {
        let proto::Exec {
            exe,
            argv,
            argv_truncated,
            cwd,
            error: errno,
            filename,
            dev,
            ino,
            argv_bytes,
            fileless,
            agent,
            path_source: _,
            exe_truncated,
            exe_bytes,
            cwd_truncated,
            cwd_bytes,
            filename_truncated,
        } = self;
        let mut out = Object::new();
        bytes(&mut out, "exe", exe);
        truncated(&mut out, "exe", *exe_truncated, *exe_bytes);
        arguments(&mut out, argv);
        out.insert("argvTruncated".into(), json!(argv_truncated));
        if *argv_truncated {
            out.insert("argvBytes".into(), json!(argv_bytes));
        }
        bytes(&mut out, "cwd", cwd);
        truncated(&mut out, "cwd", *cwd_truncated, *cwd_bytes);
        bytes(&mut out, "filename", filename);
        truncated(&mut out, "filename", *filename_truncated, 0);
        if *ino != 0 {
            out.insert("dev".into(), json!(dev));
            out.insert("ino".into(), json!(ino));
        }
        if *fileless {
            out.insert("fileless".into(), json!(true));
        }
        if !agent.is_empty() {
            out.insert("agent".into(), json!(agent));
        }
        out.insert("pathSource".into(), json!(self.path_source().as_str_name()));
        error(&mut out, *errno);
        out
    }

    fn line(&self) -> String {
        format!("exec     {}", command(self))
    }

    fn errno(&self) -> u32 {
        self.error
    }
}

impl Render for proto::Fork {
    fn json(&self) -> Object {
        let proto::Fork {
            child_pid,
            child_start_time_ns,
            child_ppid,
        } = self;
        object([
            ("childPid", json!(child_pid)),
            ("childStartTimeNs", json!(child_start_time_ns)),
            ("childPpid", json!(child_ppid)),
        ])
    }

    fn line(&self) -> String {
        format!("fork     {}", self.child_pid)
    }
}

impl Render for proto::Exit {
    fn json(&self) -> Object {
        let proto::Exit {
            code,
            signal,
            core_dumped,
        } = self;
        object([
            ("code", json!(code)),
            ("signal", json!(signal)),
            ("coreDumped", json!(core_dumped)),
        ])
    }

    fn line(&self) -> String {
        match self.signal {
            0 => format!("exit     {}", self.code),
            signal => format!("exit     killed by signal {signal}"),
        }
    }
}

impl Render for proto::ControlAct {
    fn json(&self) -> Object {
        let proto::ControlAct {
            op: _,
            target_pid,
            signal,
            command,
            error: errno,
            nested,
        } = self;
        let op = self.op();
        let mut out = object([("op", json!(op.as_str_name()))]);
        if op != proto::ControlOp::Bpf {
            out.insert("targetPid".into(), json!(target_pid));
        }
        if op == proto::ControlOp::Signal {
            out.insert("signal".into(), json!(signal));
        } else {
            out.insert("command".into(), json!(command));
        }
        if *nested {
            out.insert("nested".into(), json!(true));
        }
        error(&mut out, *errno);
        out
    }

    fn line(&self) -> String {
        let proto::ControlAct {
            target_pid,
            signal,
            command,
            ..
        } = self;
        match self.op() {
            proto::ControlOp::Signal => format!("signal   {signal} to {target_pid}"),
            proto::ControlOp::Ptrace => format!("ptrace   {target_pid} request {command:#x}"),
            proto::ControlOp::Bpf => format!("bpf      command {command}"),
            proto::ControlOp::Limit => format!("limit    {target_pid} resource {command}"),
            proto::ControlOp::Descriptor => {
                format!("take     descriptor {command} of {target_pid}")
            }
            proto::ControlOp::Unspecified => "control".to_owned(),
        }
    }

    fn errno(&self) -> u32 {
        self.error
    }
}

/// A command line. Its arguments are escaped, and quoted where they contain spaces.
pub(in crate::replay) fn command(exec: &proto::Exec) -> String {
    let mut marks = String::new();
    for (what, is_truncated) in [
        ("program", exec.exe_truncated),
        ("working directory", exec.cwd_truncated),
    ] {
        if is_truncated {
            marks.push_str(&format!(" (path of the {what} cut)"));
        }
    }
    if exec.argv.is_empty() {
        let name = path(&exec.filename, exec.filename_truncated, 0);
        return format!("{name}{marks}");
    }
    let words: Vec<String> = exec
        .argv
        .iter()
        .map(|argument| {
            let text = escaped(argument);
            if text.is_empty() || text.contains([' ', '"', '\'']) {
                format!("{text:?}").replace("\\\\", "\\")
            } else {
                text
            }
        })
        .collect();
    let cut = if exec.argv_truncated { " …" } else { "" };
    format!("{}{cut}{marks}", words.join(" "))
}
