//! GPUs: their properties, kernels and memory.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasStatus_t;
use candle_core::cuda_backend::cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, result, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::Ptx;
use candle_core::cuda_backend::{CudaError, DeviceId, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Error, Result, Shape, Storage, Tensor, bail};
use half::f16;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The kernels, for every GPU.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// Threads of a block of the element-wise kernels.
const THREADS: usize = 256;

/// Shared memory that a kernel may use without opting in, in bytes.
const SHARED: usize = 48 * 1024;

/// The number of GPUs: none if the driver does not answer.
pub fn count() -> usize {
    CudaContext::device_count().map_or(0, |count| count.max(0) as usize)
}

/// Opens a GPU. All of its work runs on one stream, in the order in which threads submit it. While a graph is captured,
/// which includes all work submitted meanwhile, no other thread may submit any.
///
/// # Errors
/// If there is no such GPU or no driver.
pub fn open(number: usize) -> anyhow::Result<Device> {
    let count = count();
    if number >= count {
        let are = if count == 1 { "is" } else { "are" };
        anyhow::bail!("there is no such GPU; there {are} {count}");
    }
    let device = CudaDevice::new_with_stream(number)?;
    // SAFETY: events order the work of several streams, and there is only one.
    unsafe { device.disable_event_tracking() };
    // Some virtual GPUs have no memory pools.
    let _ = retain_freed_memory(&device);
    let device = Device::Cuda(device);
    load_kernels(&device)?;
    Ok(device)
}

/// Loads candle's kernels that lay out weights, and ours, up front: if two threads loaded one of candle's at once, one would
/// unload the module that the other uses.
fn load_kernels(device: &Device) -> Result<()> {
    let x = Tensor::zeros((2, 2), DType::F16, device)?.to_dtype(DType::F32)?;
    let x = Tensor::cat(&[&x.t()?.contiguous()?, &x], 1)?;
    x.index_select(&Tensor::new(&[1u32], device)?, 0)?;
    Gpu::of(device.as_cuda_device()?)?;
    Ok(())
}

/// Keeps freed memory in the pool, which by default returns it to the driver at every synchronisation.
fn retain_freed_memory(device: &CudaDevice) -> Result<()> {
    let context = device.cuda_stream().context().clone();
    let unlimited = u64::MAX;
    // SAFETY: the device is the context's, the pool is its own, and the attribute is 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, threshold, (&raw const unlimited).cast_mut().cast()).w()
    }
}

/// The memory of a GPU in bytes.
pub fn memory(device: &Device) -> Option<usize> {
    let context = device.as_cuda_device().ok()?.cuda_stream().context().clone();
    context.mem_get_info().ok().map(|(_, total)| total)
}

/// Returns cached memory to the driver, if possible.
pub fn release_memory(device: &Device) {
    let Device::Cuda(device) = device else { return };
    let stream = device.cuda_stream();
    let cu_device = stream.context().cu_device();
    // Pending work may hold memory. The caller already knows of its errors.
    let _ = stream.synchronize();
    let _ = stream.context().check_err();
    // SAFETY: the device is the context's, and the pool is its own.
    unsafe {
        if let Ok(pool) = result::device::get_default_mem_pool(cu_device) {
            let _ = result::mem_pool::trim_to(pool, 0);
        }
        let _ = sys::cuDeviceGraphMemTrim(cu_device);
    }
}

/// Whether an error is a GPU's out-of-memory error.
pub fn out_of_memory(error: &Error) -> bool {
    match error {
        Error::Cuda(error) => match error.downcast_ref::<CudaError>() {
            Some(CudaError::Cuda(error)) => error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY,
            Some(CudaError::Cublas(error)) => error.0 == cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED,
            _ => false,
        },
        Error::WithBacktrace { inner, .. } | Error::Context { inner, .. } | Error::WithPath { inner, .. } => {
            out_of_memory(inner)
        }
        _ => false,
    }
}

/// A GPU whose kernels are loaded.
pub struct Gpu {
    module: Arc<CudaModule>,
    /// The number of multiprocessors.
    pub multiprocessors: usize,
    /// Results of `occupancy`.
    occupancy: Mutex<HashMap<&'static str, usize>>,
}

/// The GPUs in use, by device.
static GPUS: Mutex<Option<HashMap<DeviceId, Arc<Gpu>>>> = Mutex::new(None);

impl Gpu {
    /// Returns the GPU of `device`, loading the kernels first if necessary.
    pub fn of(device: &CudaDevice) -> Result<Arc<Self>> {
        let mut gpus = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
        let gpus = gpus.get_or_insert_default();
        if let Some(gpu) = gpus.get(&device.id()) {
            return Ok(gpu.clone());
        }
        let context = device.cuda_stream().context().clone();
        let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = context.attribute(count).w()?.max(1) as usize;
        let module = context.load_module(Ptx::from_binary(KERNELS.to_vec())).w()?;
        let gpu = Arc::new(Self { module, multiprocessors, occupancy: Mutex::default() });
        gpus.insert(device.id(), gpu.clone());
        Ok(gpu)
    }

    /// Returns the kernel `name`, allowed to use `shared` bytes of shared memory.
    fn kernel(&self, name: &str, shared: usize) -> Result<CudaFunction> {
        let kernel = self.module.load_function(name).w()?;
        if shared > SHARED {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            kernel.set_attribute(attribute, shared as i32).w()?;
        }
        Ok(kernel)
    }

    /// Returns the blocks of a kernel that a multiprocessor holds at once, at least 1. `threads` and `shared`, the shared
    /// memory of a block in bytes, are always the same for one kernel.
    pub fn occupancy(&self, name: &'static str, threads: usize, shared: usize) -> Result<usize> {
        let mut occupancy = self.occupancy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blocks) = occupancy.get(name) {
            return Ok(*blocks);
        }
        let kernel = self.kernel(name, shared)?;
        let blocks = kernel.occupancy_max_active_blocks_per_multiprocessor(threads as u32, shared, None).w()?;
        let blocks = blocks.max(1) as usize;
        occupancy.insert(name, blocks);
        Ok(blocks)
    }
}

/// The dimensions of a launch.
pub struct Grid {
    /// Blocks along x, y and z.
    pub blocks: [usize; 3],
    /// Threads of a block along x and y.
    pub threads: [usize; 2],
    /// Dynamic shared memory of a block in bytes.
    pub shared: usize,
}

impl Grid {
    /// At least `threads` threads in blocks of `THREADS`.
    pub fn of(threads: usize) -> Self {
        Self { blocks: [threads.div_ceil(THREADS), 1, 1], threads: [THREADS, 1], shared: 0 }
    }
}

/// Makes a `#[repr(C)]` struct of numbers an argument of kernels, and checks its size against the kernels' struct.
macro_rules! kernel_params {
    ($params:ty, $size:expr) => {
        const _: () = assert!(size_of::<$params>() == $size);
        // SAFETY: the kernels' struct has the same fields in the same order, all of them plain numbers.
        unsafe impl candle_core::cuda_backend::cudarc::driver::DeviceRepr for $params {}
    };
}
pub(super) use kernel_params;

/// Submits the kernel `name` to the device's stream; a grid without threads does nothing.
///
/// # Safety
/// The kernel takes one `P`, and the memory that it accesses through `params` is allocated.
pub unsafe fn launch<P: DeviceRepr>(device: &CudaDevice, name: &str, grid: Grid, params: &P) -> Result<()> {
    let Grid { blocks, threads, shared } = grid;
    if blocks.contains(&0) || threads.contains(&0) {
        return Ok(());
    }
    let kernel = Gpu::of(device)?.kernel(name, shared)?;
    let [x, y, z] = blocks.map(|blocks| blocks as u32);
    let config = LaunchConfig {
        grid_dim: (x, y, z),
        block_dim: (threads[0] as u32, threads[1] as u32, 1),
        shared_mem_bytes: shared as u32,
    };
    let stream = device.cuda_stream();
    // SAFETY: the caller guarantees it.
    unsafe { stream.launch_builder(&kernel).arg(params).launch(config) }.w()?;
    Ok(())
}

/// Returns the device address of a tensor's first element. It is valid for work submitted while the tensor lives.
pub fn address(x: &Tensor) -> Result<u64> {
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("the kernels of ops/cuda take tensors on GPUs only") };
    let stream = storage.device().cuda_stream();
    let start = match storage.dtype() {
        DType::F16 => storage.as_cuda_slice::<f16>()?.device_ptr(&stream).0,
        DType::F32 => storage.as_cuda_slice::<f32>()?.device_ptr(&stream).0,
        dtype => bail!("the kernels of ops/cuda take f16 and f32, not {dtype:?}"),
    };
    Ok(start + (layout.start_offset() * storage.dtype().size_in_bytes()) as u64)
}

/// Allocates an uninitialised tensor.
///
/// # Safety
/// The tensor must be written before it is read.
pub unsafe fn uninit(device: &CudaDevice, dtype: DType, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    let count = shape.elem_count();
    // SAFETY: the caller guarantees it.
    let storage = unsafe {
        match dtype {
            DType::F16 => CudaStorage::wrap_cuda_slice(device.alloc::<f16>(count)?, device.clone()),
            DType::F32 => CudaStorage::wrap_cuda_slice(device.alloc::<f32>(count)?, device.clone()),
            dtype => bail!("the kernels of ops/cuda make f16 and f32, not {dtype:?}"),
        }
    };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

/// The suffix of the names of kernels for `dtype`.
pub fn suffix(dtype: DType) -> &'static str {
    if dtype == DType::F16 { "f16" } else { "f32" }
}

/// Converts to `dtype`, contiguous.
pub fn contiguous_as(x: &Tensor, dtype: DType) -> Result<Tensor> {
    x.to_dtype(dtype)?.contiguous()
}
