// Command judge says what GitOps tools make of objects, by the libraries that those tools use. It reads JSON from stdin and
// prints one line of JSON.
//
//	judge kstatus           [OBJECT...]           -> [{"status": "Current", "message": ""}...]      Flux, and helm 4 --wait
//	judge health FOLDER     [OBJECT...]           -> [{"status": "Healthy", "message": ""}...]      Argo CD, by FOLDER's health.lua
//	judge action SCRIPT     [OBJECT...]           -> [OBJECT...]                                    Argo CD, after an action.lua
//	judge drift             [{"git", "live"}...]  -> [{}...]     Argo CD: the merge patch from live to what Git would make of it
//	judge schema FOLDER     [OBJECT...]           -> [{"status": "valid", "message": ""}...]        kubeconform -strict
//	judge flux              [OBJECT...]           -> [{"status": "valid", "message": ""}...]        by the types of Flux's controllers
//	judge cases FOLDER                            -> the names of the cases that passed; Argo CD's own test layout
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

type object = map[string]any

// A verdict on one object.
type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	answer, err := answer(os.Args[1:], os.Stdin)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answer)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "judge: %v\n", err)
		os.Exit(1)
	}
}

func answer(args []string, stdin io.Reader) (any, error) {
	switch {
	case len(args) == 1 && args[0] == "kstatus":
		return each(stdin, kstatus)
	case len(args) == 2 && args[0] == "health":
		return each(stdin, customizations(args[1]).health)
	case len(args) == 2 && args[0] == "action":
		return each(stdin, func(live object) (object, error) { return act(args[1], live) })
	case len(args) == 1 && args[0] == "drift":
		return each(stdin, drift)
	case len(args) == 2 && args[0] == "schema":
		return each(stdin, schemas(args[1]).validate)
	case len(args) == 1 && args[0] == "flux":
		return each(stdin, flux)
	case len(args) == 2 && args[0] == "cases":
		return customizations(args[1]).cases()
	}
	return nil, errors.New("expected kstatus, health FOLDER, action SCRIPT, drift, schema FOLDER, flux or cases FOLDER")
}

// each judges every item of a JSON array.
func each[In, Out any](stdin io.Reader, judge func(In) (Out, error)) ([]Out, error) {
	var items []In
	if err := json.NewDecoder(stdin).Decode(&items); err != nil {
		return nil, fmt.Errorf("stdin is no array of what is to be judged: %w", err)
	}
	verdicts := make([]Out, 0, len(items))
	for i, item := range items {
		verdict, err := judge(item)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
		verdicts = append(verdicts, verdict)
	}
	return verdicts, nil
}
