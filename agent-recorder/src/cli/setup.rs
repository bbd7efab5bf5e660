//! Builds the settings of the rooms from the command line and the configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Common, Error};
use crate::bpf;
use crate::config::{Config, DEFAULT_FILE, OnStop, Profile};
use crate::daemon::{self, Recorder};
use crate::fault;
use crate::guard::Policy;
use crate::guard::gate::Gate;
use crate::identity::{Files, HostKeys};
use crate::session::agents::RuleSet;
use crate::spool::{self, Spool, Store};
use crate::stream::{self, Earlier, Stream};
use tokio::runtime::Runtime;

/// The streams to the collector.
#[derive(Debug)]
pub(super) struct Streams {
    own: Stream,
    _earlier: Earlier,
}

impl Streams {
    /// Tells the stream the recorder's progress, and has the recorder record the
    /// stream's declarations.
    pub(super) fn exchange(&mut self, recorder: &mut Recorder) {
        while let Some(declaration) = self.own.declaration() {
            recorder.declare(&declaration);
        }
        self.own.grown(recorder.progress());
        recorder.show_flow(self.own.flow());
    }
}

/// The choice of a store to read.
#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// Read this store of a collector instead of the spool in the state directory
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens the store.
    pub(super) fn open(&self, common: &Common) -> Result<Store, Error> {
        let directory = match &self.store {
            Some(store) => store.clone(),
            None => Setting::load(common)?
                .config
                .recorder
                .state_dir
                .join("spool"),
        };
        Ok(Store::open(&directory)?)
    }
}

/// The configuration in force.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) config: Config,
    pub(super) rules: RuleSet,
    /// Path of the configuration file, which may be missing.
    file: PathBuf,
}

impl Setting {
    /// Reads the configuration. The command line takes precedence.
    pub(super) fn load(common: &Common) -> Result<Self, Error> {
        let mut config = Config::load(common.config.as_deref())?;
        if let Some(state_dir) = &common.state_dir {
            config.recorder.state_dir.clone_from(state_dir);
        }
        if let Some(profile) = common.profile {
            config.recorder.profile = profile;
        }
        let rules = RuleSet::from_config(&config)?;
        let file = common.config.clone();
        Ok(Self {
            config,
            rules,
            file: file.unwrap_or_else(|| DEFAULT_FILE.into()),
        })
    }

    /// Starts sending to the collector, if there is one: the recorder's own stream,
    /// and those of earlier recorders.
    pub(super) fn start_streams(&self, runtime: &Runtime, spool: &Spool) -> Option<Streams> {
        let collector = self.config.stream.collector.as_ref()?;
        let directory = self.config.recorder.state_dir.join("spool");
        // The directory was opened a moment ago. If it cannot be listed now, the own
        // stream is sent all the same.
        let earlier = Store::open(&directory)
            .and_then(|store| store.streams())
            .unwrap_or_default();
        let own = spool.stream_id();
        let keys = self.host_keys(collector);
        let _inside = runtime.enter();
        let options = |stream| stream::Options {
            collector: collector.clone(),
            keys: keys.clone(),
            spool: directory.clone(),
            stream,
        };
        let earlier = earlier
            .into_iter()
            .filter(|stream| *stream != own)
            .map(options)
            .collect();
        let own = Stream::start(options(own));
        Some(Streams {
            _earlier: Earlier::start(earlier, &own),
            own,
        })
    }

    fn host_keys(&self, collector: &str) -> Option<Arc<HostKeys>> {
        let directory = self
            .config
            .stream
            .keys
            .clone()
            .unwrap_or_else(|| self.config.recorder.state_dir.join("keys"));
        collector
            .starts_with("https://")
            .then(|| Arc::new(HostKeys::new(Files::of_host(&directory))))
    }

    /// Waits for the collector's acknowledgement of the recorder's own stream, for
    /// the configured time.
    pub(super) fn drain(&self, runtime: &Runtime, streams: Option<Streams>, recorder: &Recorder) {
        let Some(Streams { own, .. }) = streams else {
            return;
        };
        own.grown(recorder.progress());
        let spool = recorder.spool();
        let left = runtime.block_on(own.drain(spool.last_seq(), self.config.stream.drain));
        if left > 0 {
            tracing::warn!(
                "{left} records are not acknowledged by the collector; they stay in {}",
                spool.dir().display()
            );
        }
    }

    /// The parts of a recorder.
    ///
    /// `lasts`: whether it is a daemon, which answers operators, and runs so long
    /// that its hooks have to be checked.
    pub(super) fn recorder(&self, lasts: bool) -> daemon::Setup {
        let policy = Policy::of(&self.config.guard);
        let gate = Gate::of(&self.config.gate);
        daemon::Setup {
            kernel: bpf::Options {
                profiles: match self.config.recorder.profile {
                    Profile::Auto => bpf::Profile::ALL.to_vec(),
                    Profile::Lsm => vec![bpf::Profile::Lsm],
                    Profile::Fentry => vec![bpf::Profile::Fentry],
                    Profile::Tracepoint => vec![bpf::Profile::Tracepoint],
                },
                priority_ring_bytes: self.config.kernel.priority_ring_bytes,
                bulk_ring_bytes: self.config.kernel.bulk_ring_bytes,
                guard: policy.config,
                names: [policy.names.clone(), gate.names()].concat(),
                rules: self.rules.for_kernel(),
                gated: gate.for_kernel(),
            },
            rules: self.rules.names(),
            spool: self.config.recorder.state_dir.join("spool"),
            keep: spool::Options {
                retain_bytes: self.config.spool.max_bytes,
                retain_age: self.config.spool.max_age,
                segment_bytes: fault::segment_bytes()
                    .unwrap_or(spool::Options::default().segment_bytes),
                ..spool::Options::default()
            },
            policy,
            gate,
            asks: lasts,
            handoff: self.config.handoff.clone(),
            own: [
                &self.config.recorder.state_dir,
                &self.file,
                &self.config.recorder.pins,
            ]
            .into_iter()
            .filter(|path| !path.as_os_str().is_empty())
            .cloned()
            .collect(),
            canary: if lasts {
                self.config.recorder.canary
            } else {
                Duration::ZERO
            },
            pins: if lasts {
                self.config.recorder.pins.clone()
            } else {
                PathBuf::new()
            },
            leaves: self.config.recorder.on_stop == OnStop::Leave,
            takes_over: lasts,
        }
    }
}
