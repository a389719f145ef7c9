//! A card: what it is, its kernels, and tensors on it.

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

/// The kernels, for every card.
static KERNELS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin"));

/// Threads of a block of the simple kernels.
pub const THREADS: usize = 256;

/// Threads of a warp.
pub const LANES: usize = 32;

/// Numbers that kernels read and write at once.
pub const VECTOR: usize = 8;

/// Shared memory that a kernel gets without asking, in bytes.
const SHARED: usize = 48 * 1024;

/// How many cards there are: none, where the driver says nothing.
pub fn count() -> usize {
    CudaContext::device_count().map_or(0, |count| count.max(0) as usize)
}

/// Opens the card of this number. All work on it is done in one order, whatever thread gives it; while a piece of
/// `Graphs` is recorded, which takes all that is given meanwhile for its own, no other thread may give any.
///
/// # Errors
/// When there is none, or no driver.
pub fn open(number: usize) -> Result<Device> {
    let count = count();
    if number >= count {
        let are = if count == 1 { "is" } else { "are" };
        return Err(Error::Msg(format!("there is no such card; there {are} {count}")));
    }
    let device = CudaDevice::new_with_stream(number)?;
    // SAFETY: there is one stream, so there is nothing that events would put in order.
    unsafe { device.disable_event_tracking() };
    // Some virtual cards have no pools.
    let _ = keep_memory(&device);
    let device = Device::Cuda(device);
    load_kernels(&device)?;
    Ok(device)
}

/// candle's kernels that weights are laid out with: were they loaded by several threads at once, one would unload what
/// another uses.
fn load_kernels(device: &Device) -> Result<()> {
    let x = Tensor::zeros((2, 2), DType::F16, device)?.to_dtype(DType::F32)?;
    let x = Tensor::cat(&[&x.t()?.contiguous()?, &x], 1)?;
    x.index_select(&Tensor::new(&[1u32], device)?, 0)?;
    Gpu::of(device.as_cuda_device()?)?;
    Ok(())
}

/// Memory that is freed stays at hand: by default every wait for the card would give it back.
fn keep_memory(device: &CudaDevice) -> Result<()> {
    let context = device.cuda_stream().context().clone();
    let most = u64::MAX;
    // SAFETY: the device is the context's, the pool is its own, and the attribute is 64 bits.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device()).w()?;
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, threshold, (&raw const most).cast_mut().cast()).w()
    }
}

/// How many bytes a card has.
pub fn memory(device: &Device) -> Option<usize> {
    let context = device.as_cuda_device().ok()?.cuda_stream().context().clone();
    context.mem_get_info().ok().map(|(_, total)| total)
}

/// Gives memory back that was freed; it helps or it does not.
pub fn release_memory(device: &Device) {
    let Device::Cuda(device) = device else { return };
    let stream = device.cuda_stream();
    let cu_device = stream.context().cu_device();
    // Work under way may hold some; and what failed on the way is known.
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

/// Whether an error is that of a card without memory left.
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

/// What is known of a card once its kernels are loaded.
pub struct Gpu {
    module: Arc<CudaModule>,
    /// How many multiprocessors it has.
    pub multiprocessors: usize,
    /// What `blocks_at_once` has said.
    at_once: Mutex<HashMap<&'static str, usize>>,
}

/// By their devices.
static GPUS: Mutex<Option<HashMap<DeviceId, Arc<Gpu>>>> = Mutex::new(None);

impl Gpu {
    /// The one of this device.
    pub fn of(device: &CudaDevice) -> Result<Arc<Self>> {
        let mut cards = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
        let cards = cards.get_or_insert_default();
        if let Some(card) = cards.get(&device.id()) {
            return Ok(card.clone());
        }
        let context = device.cuda_stream().context().clone();
        let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        let multiprocessors = context.attribute(count).w()?.max(1) as usize;
        let module = context.load_module(Ptx::from_binary(KERNELS.to_vec())).w()?;
        let card = Arc::new(Self { module, multiprocessors, at_once: Mutex::default() });
        cards.insert(device.id(), card.clone());
        Ok(card)
    }

    /// The kernel of this name, allowed so much shared memory, in bytes.
    fn kernel(&self, name: &str, shared: usize) -> Result<CudaFunction> {
        let kernel = self.module.load_function(name).w()?;
        if shared > SHARED {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            kernel.set_attribute(attribute, shared as i32).w()?;
        }
        Ok(kernel)
    }

    /// How many blocks of a kernel, always of as many threads and of as much shared memory, a multiprocessor has at once.
    pub fn blocks_at_once(&self, name: &'static str, threads: usize, shared: usize) -> Result<usize> {
        let mut at_once = self.at_once.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(blocks) = at_once.get(name) {
            return Ok(*blocks);
        }
        let kernel = self.kernel(name, shared)?;
        let blocks = kernel.occupancy_max_active_blocks_per_multiprocessor(threads as u32, shared, None).w()?;
        let blocks = blocks.max(1) as usize;
        at_once.insert(name, blocks);
        Ok(blocks)
    }
}

/// Blocks of threads, and the shared memory of each in bytes.
pub struct Grid {
    pub blocks: [usize; 3],
    pub threads: [usize; 2],
    pub shared: usize,
}

impl Grid {
    /// So many threads in all.
    pub fn of(threads: usize) -> Self {
        Self { blocks: [threads.div_ceil(THREADS), 1, 1], threads: [THREADS, 1], shared: 0 }
    }
}

/// Has the kernel of this name done with these parameters, after all that was asked for before.
///
/// # Safety
/// The kernel takes one `P`, and what it reads and writes by that is there.
pub unsafe fn launch<P: DeviceRepr>(device: &CudaDevice, name: &str, grid: Grid, parameters: &P) -> Result<()> {
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
    // SAFETY: the caller's word.
    unsafe { stream.launch_builder(&kernel).arg(parameters).launch(config) }.w()?;
    Ok(())
}

/// Where a tensor's numbers are. Work that is given to the card while the tensor lives finds them there.
pub fn address(x: &Tensor) -> Result<u64> {
    let (storage, layout) = x.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else { bail!("the kernels of ops/cuda take tensors on cards only") };
    let stream = storage.device().cuda_stream();
    let start = match storage.dtype() {
        DType::F16 => storage.as_cuda_slice::<f16>()?.device_ptr(&stream).0,
        DType::F32 => storage.as_cuda_slice::<f32>()?.device_ptr(&stream).0,
        dtype => bail!("the kernels of ops/cuda take f16 and f32, not {dtype:?}"),
    };
    Ok(start + (layout.start_offset() * storage.dtype().size_in_bytes()) as u64)
}

/// A tensor for a kernel to write.
///
/// # Safety
/// It is written before it is read.
pub unsafe fn uninit(device: &CudaDevice, dtype: DType, shape: impl Into<Shape>) -> Result<Tensor> {
    let shape = shape.into();
    let count = shape.elem_count();
    // SAFETY: the caller's word.
    let storage = unsafe {
        match dtype {
            DType::F16 => CudaStorage::wrap_cuda_slice(device.alloc::<f16>(count)?, device.clone()),
            DType::F32 => CudaStorage::wrap_cuda_slice(device.alloc::<f32>(count)?, device.clone()),
            dtype => bail!("the kernels of ops/cuda make f16 and f32, not {dtype:?}"),
        }
    };
    Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
}

/// How kernels for these numbers end their names.
pub fn suffix(dtype: DType) -> &'static str {
    if dtype == DType::F16 { "f16" } else { "f32" }
}

/// The same numbers in one piece, as this type.
pub fn contiguous_as(x: &Tensor, dtype: DType) -> Result<Tensor> {
    x.to_dtype(dtype)?.contiguous()
}
