//! Faults of a collector, none of which the daemon's side believes: each is recorded,
//! nothing counts as acknowledged, and a working collector receives everything
//! afterwards.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent_recorder::record::Seq;
use agent_recorder::record::proto::ingest_server::{Ingest, IngestServer};
use agent_recorder::record::proto::{self, to_collector, to_daemon};
use agent_recorder::stream::Stream;
use agent_recorder_tests::lab::collecting::Host;
use agent_recorder_tests::lab::wait::wait_for;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Response, Status, Streaming};

type Answer = Result<proto::ToDaemon, Status>;
/// A collector's answers to a batch: connection, first and last number.
type Script = Arc<dyn Fn(usize, u64, u64) -> Vec<Answer> + Send + Sync>;

/// A real gRPC server that follows a script.
struct Scripted {
    script: Script,
    connections: AtomicUsize,
}

#[tonic::async_trait]
impl Ingest for Scripted {
    type StreamStream = Pin<Box<dyn tokio_stream::Stream<Item = Answer> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<proto::ToCollector>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let connection = self.connections.fetch_add(1, Ordering::SeqCst);
        let mut inbox = request.into_inner();
        let script = Arc::clone(&self.script);
        let (answers, outbox) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbox.message().await {
                let said = match message.message {
                    Some(to_collector::Message::Hello(_)) => {
                        vec![Ok(say(to_daemon::Message::Welcome(proto::Welcome {
                            protocol: 1,
                            ..Default::default()
                        })))]
                    }
                    Some(to_collector::Message::Batch(batch)) => {
                        let last = batch.first_seq + batch.records.len() as u64 - 1;
                        script(connection, batch.first_seq, last)
                    }
                    _ => Vec::new(),
                };
                for answer in said {
                    // It fails when the daemon has gone.
                    let _ = answers.send(answer).await;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbox))))
    }
}

fn say(message: to_daemon::Message) -> proto::ToDaemon {
    proto::ToDaemon {
        message: Some(message),
    }
}

fn ack(through: u64) -> Answer {
    Ok(say(to_daemon::Message::Ack(proto::Ack {
        durable_through: through,
    })))
}

fn refusal(seq: u64, reason: &str) -> Answer {
    Ok(say(to_daemon::Message::Refusal(proto::Refusal {
        seq,
        reason: reason.to_owned(),
    })))
}

async fn serve(
    script: impl Fn(usize, u64, u64) -> Vec<Answer> + Send + Sync + 'static,
) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let scripted = Scripted {
        script: Arc::new(script),
        connections: AtomicUsize::new(0),
    };
    let service = IngestServer::new(scripted).accept_compressed(CompressionEncoding::Zstd);
    let server = tonic::transport::Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Ok(address)
}

fn declared(stream: &mut Stream, event: &str) -> anyhow::Result<String> {
    wait_for(event, || {
        Ok(stream
            .declaration()
            .filter(|declaration| declaration.event.name() == event)
            .map(|declaration| declaration.detail))
    })
}

/// N5: an acknowledgement of what was never sent, one that goes back, a second welcome, a refusal of nothing.
#[test]
fn a_wrong_answer_is_recorded_and_acknowledges_nothing() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let wrong: [fn(u64, u64) -> Vec<Answer>; 4] = [
        |_, last| vec![ack(last + 1000)],
        |_, last| vec![ack(last - 1), ack(last - 2)],
        |_, _| {
            vec![Ok(say(to_daemon::Message::Welcome(
                proto::Welcome::default(),
            )))]
        },
        |_, last| vec![refusal(last + 7, "no")],
    ];
    for answer in wrong {
        let host = Host::new(10, 100)?;
        let address = runtime.block_on(serve(move |connection, first, last| {
            if connection == 0 {
                answer(first, last)
            } else {
                vec![ack(last)]
            }
        }))?;
        let mut stream = host.send(&format!("http://{address}"), None);
        println!("{}", declared(&mut stream, "collector_fault")?);
        assert!(stream.acknowledged() < host.last());
        host.wait_until_sent(&stream)?;
    }
    Ok(())
}

/// S8: a record that the collector cannot take.
#[test]
fn a_refused_record_is_set_aside_and_declared_and_blocks_nothing() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let host = Host::new(1000, 100)?;
    let address = runtime.block_on(serve(|_, first, last| {
        let refused = (first..=last).filter(|seq| (4..=6).contains(seq));
        let mut said: Vec<_> = refused.map(|seq| refusal(seq, "not today")).collect();
        said.push(ack(last));
        said
    }))?;
    let mut stream = host.send(&format!("http://{address}"), None);
    host.wait_until_sent(&stream)?;
    let detail = declared(&mut stream, "records_refused")?;
    println!("{detail}");
    assert!(detail.starts_with("3 from 4 to 6, ") && detail.ends_with(": not today"));
    let bytes = std::fs::read(host.state().join("refused").join(host.stream().to_string()))?;
    let mut rest = bytes.as_slice();
    let mut aside = Vec::new();
    while !rest.is_empty() {
        let kept = proto::SetAside::decode_length_delimited(&mut rest)?;
        let record = proto::Record::decode(kept.record.as_slice())?;
        assert_eq!(record.seq, kept.seq);
        aside.push(kept.seq);
    }
    assert_eq!(aside, [4, 5, 6]);
    Ok(())
}

/// N5: each of the sixteen statuses that gRPC has for failure, and a frame of 5 MiB.
#[test]
fn whatever_the_collector_fails_with_it_is_tried_again() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let host = |answer: Arc<dyn Fn() -> Answer + Send + Sync>| -> anyhow::Result<_> {
        let host = Host::new(10, 100)?;
        let address = runtime.block_on(serve(move |connection, _, last| {
            if connection == 0 {
                vec![answer()]
            } else {
                vec![ack(last)]
            }
        }))?;
        let stream = host.send(&format!("http://{address}"), None);
        Ok((host, stream))
    };
    let mut all = vec![host(Arc::new(|| {
        Ok(say(to_daemon::Message::Refusal(proto::Refusal {
            seq: 1,
            reason: "x".repeat(5 << 20),
        })))
    }))?];
    for code in 1..=16 {
        all.push(host(Arc::new(move || {
            Err(Status::new(Code::from_i32(code), "as the test wants"))
        }))?);
    }
    for (host, stream) in &all {
        host.wait_until_sent(stream)?;
    }
    Ok(())
}

/// N2: a collector that takes everything and answers nothing.
#[test]
fn without_an_answer_what_is_on_its_way_is_bounded_and_given_up() -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let host = Host::new(20_000, 1000)?;
    let address = runtime.block_on(serve(|connection, _, last| {
        if connection == 0 {
            Vec::new()
        } else {
            vec![ack(last)]
        }
    }))?;
    let stream = host.send(&format!("http://{address}"), None);
    let mut most = 0;
    wait_for("the connection to be given up", || {
        let flow = stream.flow();
        most = most.max(flow.bytes);
        Ok((most > 0 && flow.acknowledged == Seq(0) && flow.bytes == 0).then_some(()))
    })?;
    println!("{most} bytes were on their way at most");
    assert!(most <= 4 << 20);
    host.wait_until_sent(&stream)
}
