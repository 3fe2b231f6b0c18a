// Command testcluster runs a Kubernetes control plane on this machine's loopback address, without a
// container engine: etcd, kube-apiserver, kube-controller-manager and, where pods are wanted, the
// scheduler and kwok (which plays one node and its kubelet).
//
//	testcluster run  --dir DIR --bin BINDIR [--kwok BINDIR] [--audit-log] [--until-stdin-closes] [--remove-dir]
//	testcluster up   --dir DIR --bin BINDIR [--kwok BINDIR] [--audit-log]
//	testcluster down --dir DIR
//
// `run` stays in the foreground. It prints one line of JSON when the cluster is ready, then reads
// commands on stdin ("stop kube-apiserver", "start kube-apiserver", "kill kube-apiserver"), and
// answers each with one line of JSON. `up` runs the same in the background; `down` ends that.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

// options are what the command line says; the same for run and up.
type options struct {
	dir              string // everything that a cluster writes
	bin              string // where etcd, kube-apiserver, ... are
	kwok             string // where kwok and its stages are; "" = no node, no pods
	auditLog         bool
	untilStdinCloses bool
	removeDir        bool
}

func main() {
	if err := command(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "testcluster:", err)
		}
		os.Exit(1)
	}
}

func command(args []string) error {
	const usage = "usage: testcluster run|up|down --dir DIR [options]; -h after the verb lists them"
	if len(args) == 0 {
		return errors.New(usage)
	}
	verb, o := args[0], options{}
	flags := flag.NewFlagSet("testcluster "+verb, flag.ContinueOnError)
	flags.StringVar(&o.dir, "dir", "", "folder for the cluster's state, logs and kubeconfig (required)")
	if verb != "down" {
		flags.StringVar(&o.bin, "bin", "", "folder of the control plane's programs (required)")
		flags.StringVar(&o.kwok, "kwok", "", "folder of kwok and its stages; adds the scheduler and one node")
		flags.BoolVar(&o.auditLog, "audit-log", false, "write each request to DIR/audit.log (who, what, answer; no bodies)")
	}
	if verb == "run" {
		flags.BoolVar(&o.untilStdinCloses, "until-stdin-closes", false, "stop when stdin ends, so when the parent process does")
		flags.BoolVar(&o.removeDir, "remove-dir", false, "remove DIR in the end; stops at once, as there is nothing to save")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if o.dir == "" || flags.NArg() > 0 || (verb != "down" && o.bin == "") {
		return errors.New(usage)
	}
	// Programs get absolute paths: none depends on the folder that testcluster was started in.
	for _, path := range []*string{&o.dir, &o.bin, &o.kwok} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	switch verb {
	case "run":
		return run(o)
	case "up":
		return up(o)
	case "down":
		return down(o.dir)
	}
	return errors.New(usage)
}
