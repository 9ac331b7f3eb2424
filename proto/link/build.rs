//! Generates the contract's types and service from the .proto file, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = "isthmus/link/v1/link.proto";
    println!("cargo::rerun-if-changed={proto}");
    let descriptors = protox::compile([proto], ["."])?;
    let mut prost = tonic_prost_build::Config::new();
    prost.bytes(["."]);
    let configured = tonic_prost_build::configure().codec_path("crate::codec::BoundedCodec");
    configured.compile_fds_with_config(descriptors, prost)?;
    Ok(())
}
