//! Whatever is wrong with a configuration, either program says it once, clearly, and ends with
//! the exit code that stands for it.

mod certificates;
mod errors;
mod files;
mod ground;
mod resources;
