//! What each process of nginx does at its start.

use ngx::core::Status;
use ngx::ffi::{
    NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_core_conf_t, ngx_core_module, ngx_cycle_t, ngx_int_t,
    ngx_process,
};

use crate::state::State;
use crate::{admin, clock, conf, ext, trial};

/// Called in the master when a configuration begins to run, and nothing can refuse it any more.
pub(crate) extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes the cycle that begins.
    let cycle = unsafe { &*cycle };
    if let Some((main, state)) = ext::cycle_before(cycle).and_then(main_of) {
        let next = main_of(cycle).map(|(next, state)| (state, &*next.groups));
        state.leave_to(&main.groups, next, cycle.log);
    }
    if let Some((main, state)) = main_of(cycle) {
        state.open_for_workers(workers(cycle), cycle.log);
        state.commit(&main.groups, cycle.log);
        let (boot, fresh) = (clock::boot(), state.is_fresh());
        main.groups.iter().for_each(|group| trial::begin(group, boot, fresh, cycle.log));
    }
    trial::follow_cycle(conf::main_of_cycle(cycle).map_or(&[], |main| &main.groups), cycle.log);
    admin::follow_cycle(cycle);
    Status::NGX_OK.into()
}

/// Called in workers, in the cache manager and loader (helpers), and in the one process of `master_process off`.
pub(crate) extern "C" fn init(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: nginx passes the cycle that this process serves.
    let cycle = unsafe { &*cycle };
    // SAFETY: set before nginx calls init_process.
    let process = unsafe { ngx_process } as u32;
    if let Some((main, state)) = main_of(cycle) {
        if process != NGX_PROCESS_SINGLE {
            state.leave_master();
        }
        if process == NGX_PROCESS_WORKER || process == NGX_PROCESS_SINGLE {
            state.enter_worker(&main.groups, cycle.log);
            trial::start_timer(&main.groups, cycle.log);
            admin::start_waiting(cycle);
        }
    }
    Status::NGX_OK.into()
}

/// Called in a master, or in the one process, when it ends.
pub(crate) extern "C" fn exit_master(cycle: *mut ngx_cycle_t) {
    // SAFETY: nginx passes the cycle that ends.
    let cycle = unsafe { &*cycle };
    if ext::is_upgrade_of_living_master()
        && let Some((_, state)) = main_of(cycle)
    {
        state.give_back(cycle.log);
    }
}

/// `worker_processes`.
fn workers(cycle: &ngx_cycle_t) -> usize {
    let core = ext::module(&raw const ngx_core_module).index;
    // SAFETY: conf_ctx has a place for each module's index.
    let place = unsafe { cycle.conf_ctx.add(core) };
    // SAFETY: the same.
    let core: *const ngx_core_conf_t = unsafe { *place }.cast();
    // SAFETY: null, or the core module's configuration.
    let workers = unsafe { core.as_ref() }.map_or(0, |core| core.worker_processes);
    usize::try_from(workers).unwrap_or(0)
}

fn main_of(cycle: &ngx_cycle_t) -> Option<(&conf::Main, &State)> {
    let main = conf::main_of_cycle(cycle)?;
    Some((main, main.state.as_ref()?))
}
