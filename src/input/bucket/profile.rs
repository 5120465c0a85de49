//! The files of the AWS command line, `~/.aws/credentials` and `~/.aws/config`, as far as they have
//! keys, a region and an endpoint. All other ways to credentials need no file.

use std::collections::HashMap;
use std::path::PathBuf;

use object_store::aws::AmazonS3Builder;

use crate::input::small_file;

/// Settings of one profile.
type Profile = HashMap<String, String>;

/// Takes from the files what the environment does not say.
///
/// # Errors
///
/// Returns a message if `AWS_PROFILE` names a profile without keys: it may be one for single
/// sign-on or for a role.
pub fn apply(builder: AmazonS3Builder) -> Result<AmazonS3Builder, String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let file = |option: &str, name: &str| {
        let path = variable(option).map(PathBuf::from).or_else(|| {
            let home = variable("HOME")?;
            Some(PathBuf::from(home).join(".aws").join(name))
        });
        path.and_then(|path| small_file::read_text(&path).ok())
            .unwrap_or_default()
    };
    let named = variable("AWS_PROFILE");
    let name = named.as_deref().unwrap_or("default");
    let profile = profile(
        &file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
        &file("AWS_CONFIG_FILE", "config"),
        name,
    );
    let is_set = |names: &[&str]| names.iter().any(|name| variable(name).is_some());
    let get = |key: &str| profile.get(key).map(String::as_str);
    let mut builder = builder;
    if let (Some(region), false) = (get("region"), is_set(&["AWS_REGION", "AWS_DEFAULT_REGION"])) {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = get("endpoint_url")
        && !is_set(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"])
    {
        builder = builder
            .with_endpoint(endpoint)
            .with_allow_http(endpoint.starts_with("http://"));
    }
    if is_set(&[
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_SKIP_SIGNATURE",
    ]) {
        return Ok(builder);
    }
    let (Some(id), Some(key)) = (get("aws_access_key_id"), get("aws_secret_access_key")) else {
        return match named {
            Some(name) => Err(format!(
                "the profile {name} of AWS_PROFILE has no keys; let the AWS command line get some: \
                 eval \"$(aws configure export-credentials --format env)\""
            )),
            None => Ok(builder),
        };
    };
    builder = builder.with_access_key_id(id).with_secret_access_key(key);
    Ok(match get("aws_session_token") {
        Some(token) => builder.with_token(token),
        None => builder,
    })
}

/// The settings of a profile, from the contents of both files. Those of the first win.
fn profile(credentials: &str, config: &str, name: &str) -> Profile {
    let mut settings = section(config, &format!("profile {name}"));
    if name == "default" {
        settings.extend(section(config, name));
    }
    settings.extend(section(credentials, name));
    settings
}

/// The settings in a section. An indented line continues the setting before it, which has settings
/// of its own, so it is left out.
fn section(text: &str, wanted: &str) -> Profile {
    let mut settings = Profile::new();
    let mut is_inside = false;
    for line in text.lines() {
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        let line = line.trim();
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.split(']').next())
        {
            let words: Vec<&str> = name.split_whitespace().collect();
            is_inside = words.join(" ") == wanted;
        } else if let (true, Some((key, value))) = (is_inside, line.split_once('=')) {
            settings.insert(key.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_make_a_profile() {
        let credentials = "[default]\naws_access_key_id = AK\naws_secret_access_key=SK=\n\
                           # region = none\n[ work ]\naws_access_key_id=WK\n";
        let config = "[default]\nregion = eu-central-1\ns3 =\n  region = none\n\
                      [profile  work]\nregion = eu-west-1\naws_access_key_id = no\n";
        let default = profile(credentials, config, "default");
        assert_eq!(default["aws_access_key_id"], "AK");
        assert_eq!(default["aws_secret_access_key"], "SK=");
        assert_eq!(default["region"], "eu-central-1");
        let work = profile(credentials, config, "work");
        assert_eq!(work["aws_access_key_id"], "WK");
        assert_eq!(work["region"], "eu-west-1");
        assert_eq!(profile(credentials, config, "other"), Profile::new());
    }
}
