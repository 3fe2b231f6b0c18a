// The program that runs the test cluster. It needs nothing but Go's own library, so it compiles in
// a second and is no part of the long build of the control plane.
module scopedsecrets.io/tests/cluster/testcluster

go 1.24
