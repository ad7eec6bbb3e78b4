//! Log lines and traces. Tokens and payloads are in none of them.

use std::io::IsTerminal;

use anyhow::Context;
use opentelemetry::{KeyValue, trace::TracerProvider};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::LogFormat;

/// The variables by which OpenTelemetry is told where to send traces; without one of them none are made.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// What becomes spans: sockets, and each event.
const TRACED: &str = "info,trunkline_gateway::dialects=debug";

/// Sends what is left when it is closed.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Sends the spans that are still here. Blocks for a few seconds at the most.
    pub fn close(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "could not send the last spans");
        }
    }
}

/// Starts logging to standard output, and tracing when OpenTelemetry's own variables say where to. Once per process.
///
/// # Errors
/// The filter is no filter, the exporter can't be built, or somebody else logs already.
pub fn install(format: LogFormat, level: &str, node_id: &str) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(level)?;
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => tracing_subscriber::fmt::layer().json().with_span_list(false).boxed(),
        LogFormat::Pretty => {
            tracing_subscriber::fmt::layer().with_target(false).with_ansi(std::io::stdout().is_terminal()).boxed()
        }
    };
    let provider = exporting().then(|| provider(node_id)).transpose()?;
    match &provider {
        Some(provider) => {
            let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("trunkline"));
            let spans = spans.with_filter(EnvFilter::new(TRACED));
            tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).try_init()?;
        }
        // One filter for all: what it leaves out costs nothing, while filters of single layers are asked each time.
        None => tracing_subscriber::registry().with(lines).with(filter).try_init()?,
    }
    Ok(Telemetry(provider))
}

fn exporting() -> bool {
    let disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    !disabled && ENDPOINTS.iter().any(|name| std::env::var(name).is_ok_and(|value| !value.is_empty()))
}

/// Sampling, headers and limits come from OpenTelemetry's variables too: the SDK reads them.
fn provider(node_id: &str) -> anyhow::Result<SdkTracerProvider> {
    let exporter =
        SpanExporter::builder().with_http().build().context("could not set up the OpenTelemetry exporter")?;
    let resource = Resource::builder()
        .with_attributes([
            KeyValue::new("service.instance.id", node_id.to_owned()),
            KeyValue::new("service.version", crate::VERSION),
        ])
        .with_attributes(
            std::env::var("OTEL_SERVICE_NAME").is_err().then(|| KeyValue::new("service.name", "trunkline")),
        )
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
