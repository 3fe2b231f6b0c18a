package main

import (
	"encoding/json"
	"os"
)

// writeKubeconfig writes one user's kubeconfig, with the certificates inside: the file can be copied.
// JSON is YAML too, and needs no library.
func writeKubeconfig(path, server string, ca []byte, user string, c credentials) error {
	type object = map[string]any
	const name = "test-cluster"
	content, err := json.MarshalIndent(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"current-context": name,
		"clusters": []object{{"name": name, "cluster": object{
			"server": server, "certificate-authority-data": ca}}},
		"users": []object{{"name": user, "user": object{
			"client-certificate-data": c.certificate, "client-key-data": c.key}}},
		"contexts": []object{{"name": name, "context": object{"cluster": name, "user": user}}},
	}, "", "  ")
	if err != nil {
		return err
	}
	// Written whole or not at all: its presence says that the cluster is ready.
	if err := os.WriteFile(path+".new", append(content, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
