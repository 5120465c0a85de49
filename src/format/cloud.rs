//! Formats of hosters, proxies and clouds.
