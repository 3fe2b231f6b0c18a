package main

import "syscall"

// dieWithParent leaves nothing behind even if testcluster itself is killed.
func dieWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGKILL }
