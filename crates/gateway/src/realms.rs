//! The namespaces of a node: the static ones share the common realm, dynamic ones are made when somebody connects to
//! them, each a realm of its own, and go when nobody is left.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline_hub::{Handler, Hub};

use crate::{
    app::Lanes,
    config::{Config, DialectName, NamespacePath, Rate},
    dialects::{
        self, Dialect, Gatekeeper, Rules, conversations::Conversations, native::Native, online_users::OnlineUsers,
        rooms::Rooms, showcase::Showcase,
    },
    domain::{Domain, Speaker},
};

/// What makes namespaces.
#[derive(Debug)]
pub struct Realms {
    domain: Arc<Domain>,
    namespaces: Vec<(NamespacePath, DialectName)>,
    push_namespaces: Vec<String>,
    rate: Option<Rate>,
    node_id: String,
}

impl Realms {
    /// By the configuration; `domain` is the common realm.
    pub fn new(config: &Config, domain: &Arc<Domain>) -> Self {
        Self {
            domain: Arc::clone(domain),
            namespaces: config.namespaces.clone(),
            push_namespaces: config.push_namespaces.clone(),
            rate: config.rate_limit,
            node_id: config.node_id.clone(),
        }
    }

    /// Adds the static namespaces. Before the lanes are made.
    pub fn open_static(&self, hub: &Hub) {
        for (path, dialect) in &self.namespaces {
            if let Some(path) = path.fixed() {
                let dialect = self::dialect(*dialect, &self.node_id);
                hub.add_namespace(path, self.gatekeeper(path, Arc::clone(&self.domain), dialect));
                self.domain.serve(path);
            }
        }
    }

    /// From here on dynamic namespaces can be connected to.
    pub fn open_dynamic(self: &Arc<Self>, hub: &Hub, lanes: &Lanes) {
        for (path, _) in &self.namespaces {
            if let NamespacePath::Dynamic { prefix, suffix } = path
                && let Err(error) = lanes.socketioxide.serve_dynamic(hub, &format!("{prefix}{{name}}{suffix}"))
            {
                tracing::error!(prefix, suffix, error, "clients that poll can't connect to these dynamic namespaces");
            }
        }
        let realms = Arc::clone(self);
        hub.make_namespaces(move |name| realms.make(name));
    }

    /// Starts what sends the dialects' heartbeats, until `stop`.
    pub fn start_heartbeats(&self, hub: &Hub, tasks: &TaskTracker, stop: &CancellationToken) {
        for (path, name) in &self.namespaces {
            if let Some((period, event)) = dialect(*name, &self.node_id).heartbeat() {
                let (hub, path) = (hub.clone(), path.clone());
                let namespaces = move || hub.namespaces().into_iter().filter(|each| path.fits(each.name())).collect();
                tasks.spawn(dialects::heartbeat(namespaces, period, event, stop.clone()));
            }
        }
    }

    /// Whether there is such a namespace, or would be if somebody connected to it.
    pub fn knows(&self, namespace: &str) -> bool {
        self.namespaces.iter().any(|(path, _)| path.fits(namespace))
    }

    fn make(&self, name: &str) -> Option<Arc<dyn Handler>> {
        let speaker = self.speaker(name)?;
        let (domain, dialect) = (Arc::new(self.domain.realm(speaker.clone())), speaker.dialect);
        domain.serve(name);
        tracing::debug!(namespace = name, "a dynamic namespace comes into being");
        Some(self.gatekeeper(name, domain, dialect))
    }

    /// What is shared in a namespace's realm; `None` for a namespace that this node does not serve.
    pub(crate) fn domain(&self, namespace: &str) -> Option<Arc<Domain>> {
        match self.realm_of(namespace) {
            "" => Some(Arc::clone(&self.domain)),
            _ => self.speaker(namespace).map(|speaker| Arc::new(self.domain.realm(speaker))),
        }
    }

    /// The realm of a namespace: its own name, or `""`, which is common to the static ones.
    pub(crate) fn realm_of<'a>(&self, namespace: &'a str) -> &'a str {
        let fixed = |(path, _): &(NamespacePath, DialectName)| path.fixed() == Some(namespace);
        if self.namespaces.iter().any(fixed) { "" } else { namespace }
    }

    fn speaker(&self, name: &str) -> Option<Speaker> {
        let dynamic = |path: &NamespacePath| path.fixed().is_none() && path.fits(name);
        let (_, dialect) = self.namespaces.iter().find(|(path, _)| dynamic(path))?;
        Some(Speaker { namespace: name.to_owned(), dialect: self::dialect(*dialect, &self.node_id) })
    }

    fn gatekeeper(&self, path: &str, domain: Arc<Domain>, dialect: Arc<dyn Dialect>) -> Arc<dyn Handler> {
        let push_only = self.push_namespaces.iter().any(|only| only == path);
        Arc::new(Gatekeeper::new(domain, dialect, Rules { rate: self.rate, push_only }))
    }

    /// Announces users whose node died, in all realms. One node of the cluster gets to do it.
    pub async fn sweep(&self) {
        for gone in self.domain.sweep().await {
            match gone.realm.as_str() {
                "" => self.domain.announce_gone(&gone).await,
                realm => match self.speaker(realm) {
                    Some(speaker) => Arc::new(self.domain.realm(speaker)).announce_gone(&gone).await,
                    None => tracing::debug!(realm, "a user went offline in a realm that this node does not know"),
                },
            }
        }
    }

    /// Removes dynamic namespaces that nobody is in any more.
    pub fn close_idle(&self, hub: &Hub, lanes: &Lanes) {
        hub.remove_idle_namespaces(|name| {
            lanes.socketioxide.forget(name);
            self.domain.unserve(name);
            tracing::debug!(namespace = name, "nobody is left in a dynamic namespace");
        });
    }
}

/// The static namespaces, with what they speak.
pub fn static_speakers(config: &Config) -> Vec<Speaker> {
    let speaker = |(path, name): &(NamespacePath, DialectName)| {
        let namespace = path.fixed()?.to_owned();
        Some(Speaker { namespace, dialect: dialect(*name, &config.node_id) })
    };
    config.namespaces.iter().filter_map(speaker).collect()
}

fn dialect(name: DialectName, node_id: &str) -> Arc<dyn Dialect> {
    match name {
        DialectName::Native => Arc::new(Native::new(node_id)),
        DialectName::OnlineUsers => Arc::new(OnlineUsers),
        DialectName::Rooms => Arc::new(Rooms),
        DialectName::Conversations => Arc::new(Conversations),
        DialectName::Showcase => Arc::new(Showcase),
    }
}
