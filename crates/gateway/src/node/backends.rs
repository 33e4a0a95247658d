//! Tool servers of a configuration become backends.
//!
//! A server that stays as it is keeps its backend, with its health, its connections and its lists. What a backend is reached by is
//! made beside it ([`endpoints`](super::endpoints)); its actor is started when everything else of the configuration can run.

use std::collections::HashMap;

use quorate_config::{Connection, ResourceSet, ToolServer};
use quorate_openapi::Api;
use quorate_runtime::{backend, upstream};
use quorate_types::ResourceName;

use super::{Error, Gateway, Running};

// === impl Gateway ===

impl Gateway {
    pub(super) fn backends(
        &self,
        resources: &ResourceSet,
        running: &Running,
        apis: &mut HashMap<ResourceName, Api>,
    ) -> Result<HashMap<ResourceName, (ToolServer, backend::Handle)>, Error> {
        let mut backends = HashMap::new();
        for server in resources.tool_servers() {
            let api = apis.remove(&server.name);
            let kept = running.backends.get(&server.name).filter(|(config, _)| config == server && api.is_none());
            let backend = match kept {
                Some((_, backend)) => backend.clone(),
                None => backend::Handle::new(self.backend_config(server, api)?, self.shared.services.metrics.clone()),
            };
            backends.insert(server.name.clone(), (server.clone(), backend));
        }
        Ok(backends)
    }

    fn backend_config(&self, server: &ToolServer, api: Option<Api>) -> Result<backend::Config, Error> {
        let limits = upstream::Limits {
            answer_bytes_max: server.limits.answer.as_usize(),
            event_bytes_max: server.limits.event.as_usize(),
            first_byte: server.limits.first_byte,
            total: server.limits.total,
            ..upstream::Limits::default()
        };
        let (endpoints, transport) = match &server.connection {
            Connection::Http(http) => (self.http_endpoints(server, http, limits)?, http.transport),
            Connection::OpenApi(connection) => {
                let api = api.expect("the document of a new API was compiled");
                (vec![self.api_endpoint(server, connection, api, limits)?], quorate_config::Transport::Auto)
            }
            Connection::Stdio(stdio) => {
                let (guard, metrics) = (&self.shared.guard, &self.shared.services.metrics);
                let endpoint = crate::stdio::endpoint(server, stdio, guard, limits, metrics);
                (vec![endpoint], quorate_config::Transport::Auto)
            }
        };
        Ok(backend::Config {
            name: server.name.clone(),
            tenant: server.tenant.clone(),
            endpoints,
            era: match server.era {
                quorate_config::Era::Auto => upstream::EraSetting::Auto,
                quorate_config::Era::Legacy => upstream::EraSetting::Legacy,
                quorate_config::Era::Modern => upstream::EraSetting::Modern,
            },
            transport: match transport {
                quorate_config::Transport::Auto => upstream::TransportSetting::Auto,
                quorate_config::Transport::StreamableHttp => upstream::TransportSetting::StreamableHttp,
                quorate_config::Transport::Sse => upstream::TransportSetting::Sse,
            },
            health: quorate_scheduler::Config {
                call_failures_max: server.health.unhealthy_after,
                check_failures_max: server.health.unhealthy_after,
                check_successes_min: server.health.healthy_after,
                check_interval: server.health.interval,
                ejection_min: server.health.eject_base,
                ejection_max: server.health.eject_max,
                ..quorate_scheduler::Config::DEFAULTS
            },
            check_timeout: server.health.timeout,
            concurrency_max: usize::try_from(server.limits.concurrency).unwrap_or(usize::MAX),
            items_max: usize::try_from(server.limits.items).unwrap_or(usize::MAX),
        })
    }
}
