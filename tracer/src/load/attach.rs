//! Attaches programs to their places.

use aya::{
    Ebpf,
    programs::{
        BtfTracePoint, FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint, TracePoint,
    },
};
use tracer_common::config::{REGISTERS, Registers};

use super::{Kernel, error::Refused, tracefs};
use crate::plan::{Probe, Target, Way};

/// Attaches all probes of a way, or none.
pub(super) fn attach_way(
    ebpf: &mut Ebpf,
    kernel: &Kernel,
    way: &Way,
) -> Result<(), (Target, Refused)> {
    // Before anything is loaded for nothing.
    for probe in way.probes {
        if let Target::Fexit(name, arguments) = probe.target
            && let Some(found) = kernel.types.function_arity(name)
            && found != arguments
        {
            return Err((probe.target, Refused::OtherSignature(name)));
        }
    }
    for probe in way.probes {
        if let Err(error) = attach_probe(ebpf, kernel, probe) {
            for probe in way.probes {
                ebpf.program_mut(probe.program).into_iter().for_each(unload);
            }
            return Err((probe.target, error));
        }
    }
    Ok(())
}

fn attach_probe(ebpf: &mut Ebpf, kernel: &Kernel, probe: &Probe) -> Result<(), Refused> {
    let program = ebpf
        .program_mut(probe.program)
        .ok_or_else(|| Refused::Failed(format!("no program {}", probe.program)))?;
    match probe.target {
        Target::Btf(name) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            once(program.load(name, &kernel.btf))?;
            program.attach()?;
        }
        Target::Raw(name) => {
            let program: &mut RawTracePoint = program.try_into()?;
            once(program.load())?;
            program.attach(name)?;
        }
        Target::Event(group, name) => {
            if let Some(lack) = tracefs::look().lack() {
                return Err(Refused::NoTracefs(lack));
            }
            let program: &mut TracePoint = program.try_into()?;
            once(program.load())?;
            program.attach(group, name)?;
        }
        Target::Fentry(name) => {
            let program: &mut FEntry = program.try_into()?;
            once(program.load(name, &kernel.btf))?;
            program.attach()?;
        }
        Target::Fexit(name, _) => {
            let program: &mut FExit = program.try_into()?;
            once(program.load(name, &kernel.btf))?;
            program.attach()?;
        }
        Target::Kprobe(name) | Target::Kretprobe(name) => {
            if registers().is_none() {
                return Err(Refused::Unsupported(format!(
                    "where {} keeps arguments is not known to this version",
                    std::env::consts::ARCH
                )));
            }
            let program: &mut KProbe = program.try_into()?;
            once(program.load())?;
            program.attach(name, 0)?;
        }
    }
    Ok(())
}

/// Where this architecture keeps a function's arguments; `None` if not known.
pub(super) fn registers() -> Option<Registers> {
    let own = |&&(name, _): &&(&str, Registers)| name == std::env::consts::ARCH;
    REGISTERS.iter().find(own).map(|&(_, registers)| registers)
}

/// One program may serve several targets; it is loaded for the first.
fn once(loaded: Result<(), ProgramError>) -> Result<(), ProgramError> {
    match loaded {
        Err(ProgramError::AlreadyLoaded) => Ok(()),
        other => other,
    }
}

/// Detaches and frees a program; one that was never loaded stays as it is.
pub(super) fn unload(program: &mut Program) {
    let _ = match program {
        Program::BtfTracePoint(program) => program.unload(),
        Program::RawTracePoint(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        _ => Ok(()),
    };
}
