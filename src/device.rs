//! Where tensors live.

use candle_core::Device;

/// The GPU where the library was built with the feature `cuda` and finds one, else the CPU. Prints
/// which, and why it is not the GPU.
///
/// ```
/// let device = eigenlens::best_device();
/// # assert!(cfg!(feature = "cuda") || device.is_cpu());
/// ```
pub fn best_device() -> Device {
    let cpu = format!("CPU, {} threads", rayon::current_num_threads());
    if !cfg!(feature = "cuda") {
        println!("device: {cpu}");
        return Device::Cpu;
    }
    match Device::new_cuda(0) {
        Ok(device) => {
            println!("device: CUDA GPU 0");
            device
        }
        Err(reason) => {
            println!("device: {cpu}; the first CUDA GPU cannot be used: {reason}");
            Device::Cpu
        }
    }
}
