#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::expect_used)]
use agent_recorder::kernel::*;
use std::time::Duration;
fn main() {
    let t = std::time::Instant::now();
    let opts = Options { priority_ring_bytes: 8<<20, bulk_ring_bytes: 16<<20, guard: agent_recorder_abi::state::GuardConfig{action:2,limit:64,window:10_000_000_000}, rules: vec![] };
    let (mut k, mut rings) = match Kernel::load(&opts) { Ok(x)=>x, Err(e)=>{ eprintln!("{e}"); std::process::exit(1)} };
    eprintln!("load {:?}", t.elapsed());
    k.attach().unwrap();
    eprintln!("attach {:?}", t.elapsed());
    let n = agent_recorder_abi::state::USER_SESSION|1;
    k.begin_session(n).unwrap();
    k.tags().set_process(std::process::id(), agent_recorder_abi::state::Tag{session:n,image:1}).unwrap();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut c = std::process::Command::new(&args[0]).args(&args[1..]).spawn().unwrap();
    let mut b = Batch::default();
    let mut done=false;
    let mut total=0;
    loop {
        rings.wait(Duration::from_millis(50)).unwrap();
        loop { let more = rings.drain(&mut b); for e in b.iter() { total+=1; if std::env::var("Q").is_err() { let ev = decode(e).unwrap(); 
            let h = ev.header; print!("{} {}/{} ", String::from_utf8_lossy(&h.comm).trim_end_matches('\0'), h.pid, h.tid);
            let rev = |b:&[u8]| { let mut v: Vec<_> = b.split(|c|*c==0).filter(|x|!x.is_empty()).map(|x|String::from_utf8_lossy(x).into_owned()).collect(); v.reverse(); format!("/{}", v.join("/"))};
            match ev.body { Body::File(f)|Body::Uring(f) => println!("FILE op={} err={} base={} path={:?} base2={} path2={:?} fl={:x} ino={} dev={:x} marks={:x}", f.body.op, f.body.error, rev(f.base), String::from_utf8_lossy(f.path), rev(f.base2), String::from_utf8_lossy(f.path2), f.body.flags, f.body.ino, f.body.dev, f.body.marks),
             Body::Exec{body,exe,filename,cwd,argv}=>println!("EXEC err={} exe={} file={:?} cwd={} argv={:?} fl={}", body.error, rev(exe), String::from_utf8_lossy(filename), rev(cwd), String::from_utf8_lossy(argv), body.flags),
             Body::Network(n)=>println!("NET {:?} L={:?}:{} P={:?}:{}", n.body, &n.local.bytes[..n.local.len as usize], n.local.port, &n.peer.bytes[..n.peer.len as usize], n.peer.port),
             b=>println!("{:?}", b)} } } if !more {break} }
        if done { break }
        if c.try_wait().unwrap().is_some() { done=true; }
    }
    eprintln!("{total} {:?}", k.counters().unwrap());
}
