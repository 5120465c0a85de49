//! x
use crate::error::{Error, Result};
use crate::secret::Secret;
pub struct Sandbox(Secret);
#[derive(Default)]
pub struct Options {
    pub file: Option<std::path::PathBuf>,
}
impl Sandbox {
    pub fn start(o: Options) -> Result<Sandbox> {
        let _ = o.file;
        Err(Error::usage("none yet"))
    }
    pub fn url(&self) -> String {
        String::new()
    }
    pub fn token(&self) -> &Secret {
        &self.0
    }
}
