/* What wine before 8.13 lacks of bcryptprimitives.dll, for tests only. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T len)
{
    return RtlGenRandom(bytes, (ULONG)len);
}
