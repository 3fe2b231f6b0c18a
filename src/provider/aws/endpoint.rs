//! Which address answers for which service.

/// Domains under which AWS serves its services, one group per partition. A VPC endpoint's address is below them, too.
const AWS_DOMAINS: [&str; 10] = [
    "amazonaws.com",
    "api.aws",
    "amazonaws.com.cn",
    "api.amazonwebservices.com.cn",
    "amazonaws.eu",
    "api.amazonwebservices.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "csp.hci.ic.gov",
    "cloud.adc-e.uk",
];

/// Where STS is, given the store's endpoint and `AWS_ENDPOINT_URL_STS`; `None` is AWS's own regional address.
///
/// An emulator serves both services at one address. A VPC endpoint of Secrets Manager serves no STS.
pub(super) fn for_sts(store: Option<&str>, environment: Option<String>) -> Option<String> {
    environment.filter(|url| !url.is_empty()).or_else(|| store.filter(|url| !is_aws(host(url))).map(str::to_owned))
}

fn is_aws(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    AWS_DOMAINS
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn host(url: &str) -> &str {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
    if host_and_port.starts_with('[') {
        return host_and_port;
    }
    host_and_port.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sts_follows_an_emulator_and_not_a_vpc_endpoint() {
        let emulator = Some("http://127.0.0.1:5000");
        for (store, environment, expected) in [
            (None, None, None),
            (emulator, None, emulator),
            (Some("http://[::1]:5000/"), None, Some("http://[::1]:5000/")),
            (Some("https://amazonaws.com.example.org"), None, Some("https://amazonaws.com.example.org")),
            (Some("https://notamazonaws.com"), None, Some("https://notamazonaws.com")),
            (Some("https://vpce-0a1b.secretsmanager.eu-west-1.vpce.amazonaws.com"), None, None),
            (Some("https://secretsmanager.eu-west-1.api.aws:443/"), None, None),
            (Some("https://SecretsManager.cn-north-1.AmazonAWS.com.cn."), None, None),
            (Some("https://someone@secretsmanager.eu-west-1.amazonaws.com/"), None, None),
            (emulator, Some("https://sts.example.org"), Some("https://sts.example.org")),
            (None, Some("https://sts.example.org"), Some("https://sts.example.org")),
            (emulator, Some(""), emulator),
        ] {
            assert_eq!(
                for_sts(store, environment.map(str::to_owned)).as_deref(),
                expected,
                "{store:?} {environment:?}"
            );
        }
    }
}
