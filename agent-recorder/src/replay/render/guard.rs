//! Acts of the guard and the gate, and acts against the recorder.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fields::{Object, arguments, bytes, object};
use super::message::Render;
use crate::record::proto;
use crate::replay::escaped;

impl Render for proto::Enforcement {
    fn json(&self) -> Object {
        let proto::Enforcement {
            policy,
            action: _,
            count,
            limit,
            window_ns,
            sample,
            killed,
            survivors,
            latency_ns,
            operation_may_have_completed,
            survivor,
            cgroups,
            frozen,
            gate,
            sample_truncated,
            judgement,
        } = self;
        let mut out = object([
            ("policy", json!(policy)),
            ("action", json!(self.action().as_str_name())),
            ("count", json!(count)),
            ("limit", json!(limit)),
            ("windowNs", json!(window_ns)),
            (
                "sample",
                sample
                    .iter()
                    .map(|path| String::from_utf8_lossy(path))
                    .collect(),
            ),
            ("killed", json!(killed)),
            ("survivors", json!(survivors)),
            ("latencyNs", json!(latency_ns)),
            (
                "operationMayHaveCompleted",
                json!(operation_may_have_completed),
            ),
        ]);
        if !sample_truncated.is_empty() {
            out.insert("sampleTruncated".into(), json!(sample_truncated));
        }
        if !survivor.is_empty() {
            out.insert(
                "survivor".into(),
                survivor.iter().map(survivor_json).collect(),
            );
        }
        if !cgroups.is_empty() {
            let shown = cgroups.iter().map(|path| String::from_utf8_lossy(path));
            out.insert("cgroups".into(), shown.collect());
        }
        if !frozen.is_empty() {
            out.insert("frozen".into(), json!(frozen));
        }
        if let Some(gate) = gate {
            out.insert("gate".into(), gate_json(gate).into());
        }
        if let Some(judgement) = judgement {
            out.insert("judgement".into(), judgement_json(judgement));
        }
        if sample.iter().any(|path| std::str::from_utf8(path).is_err()) {
            out.insert(
                "sampleB64".into(),
                sample.iter().map(|path| STANDARD.encode(path)).collect(),
            );
        }
        out
    }

    fn line(&self) -> String {
        if let Some(gate) = &self.gate {
            return gate_line(gate, self.action());
        }
        let judged = self.judgement.as_ref().map(judged).unwrap_or_default();
        let struck = if self.action() == proto::Action::Spare {
            String::new()
        } else {
            format!("; killed {:?}, {} survivors", self.killed, self.survivors)
        };
        format!(
            "GUARD    {} {}: {} files destroyed, limit {} within {} s{judged}{struck}, {:.1} ms",
            escaped(self.policy.as_bytes()),
            self.action().as_str_name(),
            self.count,
            self.limit,
            self.window_ns as f64 / 1e9,
            self.latency_ns as f64 / 1e6,
        )
    }
}

/// What the counted objects were judged as: `; judged in 3.1 ms: 60 git, 4 lost`.
fn judged(judgement: &proto::Judgement) -> String {
    let held = judgement
        .held
        .iter()
        .map(|held| format!("{} {}", held.objects, escaped(held.holder.as_bytes())));
    let held: Vec<_> = held.collect();
    format!(
        "; judged in {:.1} ms: {}",
        judgement.took_ns as f64 / 1e6,
        held.join(", ")
    )
}

fn judgement_json(judgement: &proto::Judgement) -> Value {
    let proto::Judgement {
        held,
        lost,
        spared,
        took_ns,
    } = judgement;
    let held = held.iter().map(|held| {
        let proto::HeldObjects { holder, objects } = held;
        json!({ "holder": holder, "objects": objects })
    });
    let shown = spared.iter().map(|path| String::from_utf8_lossy(path));
    let mut out = object([
        ("held", held.collect()),
        ("lost", json!(lost)),
        ("spared", shown.collect()),
        ("tookNs", json!(took_ns)),
    ]);
    if spared.iter().any(|path| std::str::from_utf8(path).is_err()) {
        out.insert(
            "sparedB64".into(),
            spared.iter().map(|path| STANDARD.encode(path)).collect(),
        );
    }
    out.into()
}

impl Render for proto::Tamper {
    fn json(&self) -> Object {
        let proto::Tamper {
            act: _,
            path,
            detail,
        } = self;
        let mut out = object([("act", json!(self.act().as_str_name()))]);
        if !path.is_empty() {
            bytes(&mut out, "path", path);
        }
        if !detail.is_empty() {
            out.insert("detail".to_owned(), json!(detail));
        }
        out
    }

    fn line(&self) -> String {
        format!(
            "TAMPER   {} {}{}",
            self.act().as_str_name(),
            escaped(&self.path),
            escaped(self.detail.as_bytes())
        )
    }
}

fn gate_json(gate: &proto::GateAct) -> Object {
    let proto::GateAct {
        rule,
        argv,
        hold,
        answer,
        decided_by_uid,
        held_ns,
    } = gate;
    let mut out = object([("rule", json!(rule))]);
    arguments(&mut out, argv);
    if !hold.is_empty() {
        out.insert("hold".into(), json!(hold));
        out.insert("heldNs".into(), json!(held_ns));
    }
    if *answer != 0 {
        out.insert("answer".into(), json!(gate.answer().as_str_name()));
    }
    if let Some(uid) = decided_by_uid {
        out.insert("decidedByUid".into(), json!(uid));
    }
    out
}

fn survivor_json(survivor: &proto::Survivor) -> Value {
    let proto::Survivor {
        pid,
        reason: _,
        namespace_pid,
        state,
    } = survivor;
    json!({
        "pid": pid,
        "reason": survivor.reason().as_str_name(),
        "namespacePid": namespace_pid,
        "state": state,
    })
}

fn gate_line(gate: &proto::GateAct, action: proto::Action) -> String {
    let command: Vec<_> = gate.argv.iter().map(|word| escaped(word)).collect();
    let (command, rule) = (command.join(" "), escaped(gate.rule.as_bytes()));
    let did = match (action, gate.answer()) {
        (proto::Action::Kill, _) => "ended before it ran",
        (proto::Action::Hold, proto::HoldAnswer::Unspecified) => "held",
        _ => "runs",
    };
    let why = match gate.answer() {
        proto::HoldAnswer::Unspecified => String::new(),
        answer => format!(", {}", answer.as_str_name()),
    };
    let by = gate
        .decided_by_uid
        .map(|uid| format!(" by uid {uid}"))
        .unwrap_or_default();
    let hold = match gate.hold.as_str() {
        "" => String::new(),
        hold => format!(", hold {}", escaped(hold.as_bytes())),
    };
    format!("GATE     {rule}: {did}{why}{by}{hold}: {command}")
}
