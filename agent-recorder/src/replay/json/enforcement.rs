//! What the guard and the gate did, and what was done to the recorder, as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Object, arguments, bytes, object};
use crate::record::proto;

pub(super) fn enforcement_json(enforcement: &proto::Enforcement) -> Object {
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
    } = enforcement;
    let mut out = object([
        ("policy", json!(policy)),
        ("action", json!(enforcement.action().as_str_name())),
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
    if sample.iter().any(|path| std::str::from_utf8(path).is_err()) {
        out.insert(
            "sampleB64".into(),
            sample.iter().map(|path| STANDARD.encode(path)).collect(),
        );
    }
    out
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

pub(super) fn tamper_json(tamper: &proto::Tamper) -> Object {
    let proto::Tamper {
        act: _,
        path,
        detail,
    } = tamper;
    let mut out = object([("act", json!(tamper.act().as_str_name()))]);
    if !path.is_empty() {
        bytes(&mut out, "path", path);
    }
    if !detail.is_empty() {
        out.insert("detail".to_owned(), json!(detail));
    }
    out
}
