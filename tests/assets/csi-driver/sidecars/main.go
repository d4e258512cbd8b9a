// The two sidecars of a CSI driver's pod: node-driver-registrar and livenessprobe cannot be built from their published
// modules. With the same arguments this registers the driver with the kubelet, or answers the kubelet's liveness probe.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func main() {
	flag.Int("v", 0, "ignored")
	address := flag.String("csi-address", "/csi/csi.sock", "the driver's socket")
	kubeletPath := flag.String("kubelet-registration-path", "", "the driver's socket, as the kubelet sees it")
	timeout := flag.Duration("probe-timeout", time.Second, "how long the driver may take to answer a probe")
	endpoint := flag.String("http-endpoint", "", "where probes are answered; without it, the driver is registered")
	flag.Parse()
	connection, err := grpc.NewClient("unix://"+*address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	identity := csi.NewIdentityClient(connection)
	if *endpoint != "" {
		log.Fatal(answerProbes(identity, *endpoint, *timeout))
	}
	log.Fatal(register(identity, *kubeletPath))
}

func answerProbes(identity csi.IdentityClient, endpoint string, timeout time.Duration) error {
	http.HandleFunc("/healthz", func(response http.ResponseWriter, request *http.Request) {
		ctx, cancel := context.WithTimeout(request.Context(), timeout)
		defer cancel()
		if _, err := identity.Probe(ctx, &csi.ProbeRequest{}); err != nil {
			http.Error(response, err.Error(), http.StatusInternalServerError)
		}
	})
	return http.ListenAndServe(endpoint, nil)
}

// registrar answers the kubelet, which watches the directory of its socket.
type registrar struct {
	registration.UnimplementedRegistrationServer
	name, endpoint string
}

func register(identity csi.IdentityClient, kubeletPath string) error {
	driver, err := identity.GetPluginInfo(context.Background(), &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	socket := "/registration/" + driver.Name + "-reg.sock"
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	registration.RegisterRegistrationServer(server, registrar{name: driver.Name, endpoint: kubeletPath})
	return server.Serve(listener)
}

func (r registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              r.name,
		Endpoint:          r.endpoint,
		SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r registrar) NotifyRegistrationStatus(
	_ context.Context, status *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		log.Fatalf("the kubelet did not register %s: %s", r.name, status.Error)
	}
	log.Printf("the kubelet registered %s", r.name)
	return &registration.RegistrationStatusResponse{}, nil
}
