//! What Windows tells about the process and the machine, for the modules beside this one.

#![allow(unsafe_code, reason = "the standard library does not know")]

use std::mem::zeroed;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::{FILETIME, SYSTEMTIME};
use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessTimes};
use windows_sys::Win32::System::Time::SystemTimeToTzSpecificLocalTime;

use super::local_time::Civil;

pub(super) fn resident_bytes() -> Option<u64> {
    let size = u32::try_from(size_of::<PROCESS_MEMORY_COUNTERS>()).ok()?;
    // SAFETY: all bytes zero are a value of this struct of numbers.
    let mut counters: PROCESS_MEMORY_COUNTERS = unsafe { zeroed() };
    // SAFETY: this takes nothing, and what it returns is not to be closed.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: `counters` has that size, is valid for writes, and outlives the call.
    let told = unsafe { K32GetProcessMemoryInfo(process, &raw mut counters, size) };
    (told != 0).then_some(counters.WorkingSetSize as u64)
}

pub(super) fn cpu_time() -> Option<Duration> {
    let none = FILETIME {
        dwLowDateTime: 0,
        dwHighDateTime: 0,
    };
    let [mut created, mut ended, mut system, mut user] = [none; 4];
    // SAFETY: this takes nothing, and what it returns is not to be closed.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: all four are valid for writes, and outlive the call.
    let told = unsafe {
        GetProcessTimes(
            process,
            &raw mut created,
            &raw mut ended,
            &raw mut system,
            &raw mut user,
        )
    };
    // In units of 100 ns.
    let ticks = |t: FILETIME| u64::from(t.dwHighDateTime) << 32 | u64::from(t.dwLowDateTime);
    let sum = ticks(system)
        .saturating_add(ticks(user))
        .saturating_mul(100);
    (told != 0).then(|| Duration::from_nanos(sum))
}

pub(super) fn total_memory() -> Option<u64> {
    // SAFETY: all bytes zero are a value of this struct of numbers.
    let mut status: MEMORYSTATUSEX = unsafe { zeroed() };
    status.dwLength = u32::try_from(size_of::<MEMORYSTATUSEX>()).ok()?;
    // SAFETY: `status` says how long it is, is valid for writes, and outlives the call.
    let told = unsafe { GlobalMemoryStatusEx(&raw mut status) };
    (told != 0).then_some(status.ullTotalPhys)
}

pub(super) fn free_disk(dir: &Path) -> Option<u64> {
    let mut path: Vec<u16> = dir.as_os_str().encode_wide().collect();
    path.push(0);
    let mut free = 0;
    let none = ptr::null_mut();
    // SAFETY: the path ends with a zero, `free` is valid for writes, and both outlive the call; what
    // may be null is.
    let told = unsafe { GetDiskFreeSpaceExW(path.as_ptr(), &raw mut free, none, none) };
    (told != 0).then_some(free)
}

/// A time in UTC as the system's time zone shows it.
pub(super) fn local(utc: Civil) -> Option<Civil> {
    let shown = SYSTEMTIME {
        wYear: u16::try_from(utc.year).ok()?,
        wMonth: utc.month.into(),
        wDayOfWeek: 0,
        wDay: utc.day.into(),
        wHour: utc.hour.into(),
        wMinute: utc.minute.into(),
        wSecond: utc.second.into(),
        wMilliseconds: 0,
    };
    let mut local = shown;
    // SAFETY: null stands for the system's time zone; both times outlive the call, and the second is
    // valid for writes.
    let told =
        unsafe { SystemTimeToTzSpecificLocalTime(ptr::null(), &raw const shown, &raw mut local) };
    if told == 0 {
        return None;
    }
    Some(Civil {
        year: local.wYear.into(),
        month: u8::try_from(local.wMonth).ok()?,
        day: u8::try_from(local.wDay).ok()?,
        hour: u8::try_from(local.wHour).ok()?,
        minute: u8::try_from(local.wMinute).ok()?,
        second: u8::try_from(local.wSecond).ok()?,
    })
}
