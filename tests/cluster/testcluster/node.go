package main

import (
	"context"
	"errors"
	"net/http"
)

const nodeName = "kwok-0"

// addNode registers the one node, whose kubelet kwok plays, and waits until pods can land on it.
func (c *cluster) addNode(ctx context.Context) error {
	type object = map[string]any
	node := object{
		"apiVersion": "v1",
		"kind":       "Node",
		"metadata": object{
			"name":        nodeName,
			"annotations": object{"kwok.x-k8s.io/node": "fake"},
			"labels": object{
				"kubernetes.io/hostname": nodeName,
				"kubernetes.io/os":       "linux",
				"type":                   "kwok",
			},
		},
	}
	if err := c.api.call(http.MethodPost, "/api/v1/nodes", "application/json", node, nil); err != nil {
		return err
	}
	// Admission adds the not-ready taint to every new node. The controller that would take it off
	// does not run here, so it is taken off for good.
	untaint := object{"spec": object{"taints": nil}}
	if err := c.api.call(http.MethodPatch, "/api/v1/nodes/"+nodeName, "application/merge-patch+json", untaint, nil); err != nil {
		return err
	}
	return c.await(ctx, "node "+nodeName+" to be ready", func() error {
		var seen struct {
			Status struct {
				Conditions []struct{ Type, Status string }
			}
		}
		if err := c.api.get("/api/v1/nodes/"+nodeName, &seen); err != nil {
			return err
		}
		for _, condition := range seen.Status.Conditions {
			if condition.Type == "Ready" && condition.Status == "True" {
				return nil
			}
		}
		return errors.New("its condition Ready is not True yet")
	})
}
