//! The two formats that scrapers read: OpenMetrics for who asks for it, as Prometheus does, and the older text format for all else.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Format {
    /// The one that an `Accept` header asks for.
    pub fn accepted(header: &str) -> Self {
        let mut types = header.split(',').map(|one| one.split(';').next().unwrap_or_default().trim());
        if types.any(|one| one == "application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What is in OpenMetrics, in this format. There a counter and an info are described by the name without its ending, and each
    /// sample is the same in both.
    pub fn of(self, open_metrics: String) -> String {
        if self == Self::OpenMetrics {
            return open_metrics;
        }
        let mut text = String::with_capacity(open_metrics.len());
        let mut help = None;
        for line in open_metrics.lines() {
            if let Some(described) = line.strip_prefix("# HELP ") {
                help = described.split_once(' ');
            } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                let (ending, kind) = match kind {
                    "counter" => ("_total", kind),
                    "info" => ("_info", "gauge"),
                    _ => ("", kind),
                };
                if let Some((_, meaning)) = help.take() {
                    text.push_str(&format!("# HELP {name}{ending} {meaning}\n"));
                }
                text.push_str(&format!("# TYPE {name}{ending} {kind}\n"));
            } else if !line.starts_with('#') {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_open_metrics_gets_it() {
        for (header, expected) in [
            (
                "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("text/plain;version=0.0.4, application/openmetrics-text; version=0.0.1", Format::OpenMetrics),
            ("text/plain;version=0.0.4", Format::Text),
            ("*/*", Format::Text),
            ("", Format::Text),
        ] {
            assert_eq!(Format::accepted(header), expected, "{header:?}");
        }
    }

    #[test]
    fn the_older_format_describes_samples_by_their_whole_name() {
        let text = "# HELP a Said so.\n# TYPE a counter\na_total{x=\"# TYPE\"} 1\n# HELP b A version.\n# TYPE b info\nb_info{v=\"1\"} 1\n# HELP c_seconds It took.\n# TYPE c_seconds histogram\n# UNIT c_seconds seconds\nc_seconds_sum 2\n# EOF\n";
        let older = "# HELP a_total Said so.\n# TYPE a_total counter\na_total{x=\"# TYPE\"} 1\n# HELP b_info A version.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n# HELP c_seconds It took.\n# TYPE c_seconds histogram\nc_seconds_sum 2\n";
        assert_eq!(Format::Text.of(text.to_owned()), older);
        assert_eq!(Format::OpenMetrics.of(text.to_owned()), text);
    }
}
