//! `/metrics`, `/healthz` and `/readyz` on the internal address of a host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a host waits for before it can serve; ready when nothing is left.
pub type Waiting = BTreeMap<&'static str, String>;

/// Starts recording metrics for the process. Called once, by `main`.
pub fn start_metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets(&[
            0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
        ])?
        .install_recorder()
}

/// Serves the three pages until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    waiting: watch::Receiver<Waiting>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let upkeep = tokio::spawn(keep_up(metrics.clone(), stop.clone()));
    let pages = Router::new()
        .route("/healthz", get(|| std::future::ready("alive\n")))
        .route("/readyz", get(readiness))
        .route(
            "/metrics",
            get(|State(pages): State<Arc<Pages>>| std::future::ready(pages.metrics.render())),
        )
        .with_state(Arc::new(Pages { metrics, waiting }));
    axum::serve(listener, pages).with_graceful_shutdown(stop.cancelled_owned()).await?;
    upkeep.abort();
    Ok(())
}

struct Pages {
    metrics: PrometheusHandle,
    waiting: watch::Receiver<Waiting>,
}

async fn readiness(State(pages): State<Arc<Pages>>) -> impl IntoResponse {
    let waiting = pages.waiting.borrow();
    if waiting.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let lines = waiting.iter().map(|(what, why)| format!("{what}: {why}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

// The recorder keeps raw histogram samples until somebody asks; nobody may ask for days.
async fn keep_up(metrics: PrometheusHandle, stop: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        metrics.run_upkeep();
    }
}
