// Fields that are newer than Debian's packages (Kubernetes 1.32), in the language of those. Without them newer clients would lose what they
// send. From Kubernetes 1.36; facts only. A message that is there already gets the fields added.
//
// Source of the numbers: the `protobuf` tags of k8s.io/api 1.36. The CUE module `cue.dev/x/k8s.io` repeats them for each field as
// `@protobuf(NUMBER,…)`. Its packages are api/core/v1, api/storage/v1, api/resource/v1, api/autoscaling/v2 and apiextensions/v1.
export const newerFields = [
  `
package k8s.io.api.core.v1;

message Container {
  repeated ContainerRestartRule restartPolicyRules = 25;
}
message ContainerStatus {
  optional string stopSignal = 15;
}
message ContainerExtendedResourceRequest {
  optional string containerName = 1;
  optional string resourceName = 2;
  optional string requestName = 3;
}
message ContainerRestartRule {
  optional string action = 1;
  optional ContainerRestartRuleOnExitCodes exitCodes = 2;
}
message ContainerRestartRuleOnExitCodes {
  optional string operator = 1;
  repeated int32 values = 2;
}
message EnvVarSource {
  optional FileKeySelector fileKeyRef = 5;
}
message EphemeralContainerCommon {
  repeated ContainerRestartRule restartPolicyRules = 25;
}
message FileKeySelector {
  optional string volumeName = 1;
  optional string path = 2;
  optional string key = 3;
  optional bool optional = 4;
}
message ImageVolumeStatus {
  optional string imageRef = 1;
}
message Lifecycle {
  optional string stopSignal = 3;
}
message NodeAllocatableResourceClaimStatus {
  optional string resourceClaimName = 1;
  repeated string containers = 2;
  map<string, .k8s.io.apimachinery.pkg.api.resource.Quantity> resources = 3;
}
message NodeStatus {
  repeated string declaredFeatures = 14;
}
message NodeSwapStatus {
  optional int64 capacity = 1;
}
message NodeSystemInfo {
  optional NodeSwapStatus swap = 11;
}
message PodCertificateProjection {
  optional string signerName = 1;
  optional string keyType = 2;
  optional int32 maxExpirationSeconds = 3;
  optional string credentialBundlePath = 4;
  optional string keyPath = 5;
  optional string certificateChainPath = 6;
  map<string, string> userAnnotations = 7;
}
message PodCondition {
  optional int64 observedGeneration = 7;
}
message PodExtendedResourceClaimStatus {
  repeated ContainerExtendedResourceRequest requestMappings = 1;
  optional string resourceClaimName = 2;
}
message PodSchedulingGroup {
  optional string podGroupName = 1;
}
message PodSpec {
  optional string hostnameOverride = 41;
  optional PodSchedulingGroup schedulingGroup = 43;
}
message PodStatus {
  optional int64 observedGeneration = 17;
  optional PodExtendedResourceClaimStatus extendedResourceClaimStatus = 18;
  map<string, .k8s.io.apimachinery.pkg.api.resource.Quantity> allocatedResources = 19;
  optional ResourceRequirements resources = 20;
  repeated NodeAllocatableResourceClaimStatus nodeAllocatableResourceClaimStatuses = 21;
}
message ResourceHealth {
  optional string message = 6;
}
message VolumeMountStatus {
  optional VolumeStatus volumeStatus = 5;
}
message VolumeProjection {
  optional PodCertificateProjection podCertificate = 6;
}
message VolumeStatus {
  optional ImageVolumeStatus image = 1;
}
`,
  `
package k8s.io.api.networking.v1;

message IPAddress {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional IPAddressSpec spec = 2;
}
message IPAddressSpec {
  optional ParentReference parentRef = 1;
}
message ParentReference {
  optional string group = 1;
  optional string resource = 2;
  optional string namespace = 3;
  optional string name = 4;
}
message ServiceCIDR {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional ServiceCIDRSpec spec = 2;
  optional ServiceCIDRStatus status = 3;
}
message ServiceCIDRSpec {
  repeated string cidrs = 1;
}
message ServiceCIDRStatus {
  repeated .k8s.io.apimachinery.pkg.apis.meta.v1.Condition conditions = 1;
}
`,
  `
package k8s.io.api.storage.v1;

message CSIDriverSpec {
  optional int64 nodeAllocatableUpdatePeriodSeconds = 9;
  optional bool serviceAccountTokenInSecrets = 10;
  optional bool preventPodSchedulingIfMissing = 11;
}
message VolumeAttributesClass {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional string driverName = 2;
  map<string, string> parameters = 3;
}
message VolumeError {
  optional int32 errorCode = 3;
}
`,
  `
package k8s.io.api.apps.v1;

message DeploymentStatus {
  optional int32 terminatingReplicas = 9;
}
message ReplicaSetStatus {
  optional int32 terminatingReplicas = 7;
}
`,
  `
package k8s.io.api.autoscaling.v2;

message HPAScalingRules {
  optional .k8s.io.apimachinery.pkg.api.resource.Quantity tolerance = 4;
}
`,
  `
package k8s.io.api.discovery.v1;

message EndpointHints {
  repeated ForNode forNodes = 2;
}
message ForNode {
  optional string name = 1;
}
`,
  `
package k8s.io.api.admissionregistration.v1;

message ApplyConfiguration {
  optional string expression = 1;
}
message JSONPatch {
  optional string expression = 1;
}
message MutatingAdmissionPolicy {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional MutatingAdmissionPolicySpec spec = 2;
}
message MutatingAdmissionPolicyBinding {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional MutatingAdmissionPolicyBindingSpec spec = 2;
}
message MutatingAdmissionPolicyBindingSpec {
  optional string policyName = 1;
  optional ParamRef paramRef = 2;
  optional MatchResources matchResources = 3;
}
message MutatingAdmissionPolicySpec {
  optional ParamKind paramKind = 1;
  optional MatchResources matchConstraints = 2;
  repeated Variable variables = 3;
  repeated Mutation mutations = 4;
  optional string failurePolicy = 5;
  repeated MatchCondition matchConditions = 6;
  optional string reinvocationPolicy = 7;
}
message Mutation {
  optional string patchType = 2;
  optional ApplyConfiguration applyConfiguration = 3;
  optional JSONPatch jsonPatch = 4;
}
`,
  `
package k8s.io.api.resource.v1;

message AllocatedDeviceStatus {
  optional string driver = 1;
  optional string pool = 2;
  optional string device = 3;
  repeated .k8s.io.apimachinery.pkg.apis.meta.v1.Condition conditions = 4;
  optional .k8s.io.apimachinery.pkg.runtime.RawExtension data = 5;
  optional NetworkDeviceData networkData = 6;
  optional string shareID = 7;
}
message AllocationResult {
  optional DeviceAllocationResult devices = 1;
  optional .k8s.io.api.core.v1.NodeSelector nodeSelector = 3;
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.Time allocationTimestamp = 5;
}
message CELDeviceSelector {
  optional string expression = 1;
}
message CapacityRequestPolicy {
  optional .k8s.io.apimachinery.pkg.api.resource.Quantity default = 1;
  repeated .k8s.io.apimachinery.pkg.api.resource.Quantity validValues = 3;
  optional CapacityRequestPolicyRange validRange = 4;
}
message CapacityRequestPolicyRange {
  optional .k8s.io.apimachinery.pkg.api.resource.Quantity min = 1;
  optional .k8s.io.apimachinery.pkg.api.resource.Quantity max = 2;
  optional .k8s.io.apimachinery.pkg.api.resource.Quantity step = 3;
}
message CapacityRequirements {
  map<string, .k8s.io.apimachinery.pkg.api.resource.Quantity> requests = 1;
}
message Counter {
  optional .k8s.io.apimachinery.pkg.api.resource.Quantity value = 1;
}
message CounterSet {
  optional string name = 1;
  map<string, Counter> counters = 2;
}
message Device {
  optional string name = 1;
  map<string, DeviceAttribute> attributes = 2;
  map<string, DeviceCapacity> capacity = 3;
  repeated DeviceCounterConsumption consumesCounters = 4;
  optional string nodeName = 5;
  optional .k8s.io.api.core.v1.NodeSelector nodeSelector = 6;
  optional bool allNodes = 7;
  repeated DeviceTaint taints = 8;
  optional bool bindsToNode = 9;
  repeated string bindingConditions = 10;
  repeated string bindingFailureConditions = 11;
  optional bool allowMultipleAllocations = 12;
  map<string, NodeAllocatableResourceMapping> nodeAllocatableResourceMappings = 13;
}
message DeviceAllocationConfiguration {
  optional string source = 1;
  repeated string requests = 2;
  optional DeviceConfiguration deviceConfiguration = 3;
}
message DeviceAllocationResult {
  repeated DeviceRequestAllocationResult results = 1;
  repeated DeviceAllocationConfiguration config = 2;
}
message DeviceAttribute {
  optional int64 int = 2;
  optional bool bool = 3;
  optional string string = 4;
  optional string version = 5;
  repeated int64 ints = 6;
  repeated bool bools = 7;
  repeated string strings = 8;
  repeated string versions = 9;
}
message DeviceCapacity {
  optional .k8s.io.apimachinery.pkg.api.resource.Quantity value = 1;
  optional CapacityRequestPolicy requestPolicy = 2;
}
message DeviceClaim {
  repeated DeviceRequest requests = 1;
  repeated DeviceConstraint constraints = 2;
  repeated DeviceClaimConfiguration config = 3;
}
message DeviceClaimConfiguration {
  repeated string requests = 1;
  optional DeviceConfiguration deviceConfiguration = 2;
}
message DeviceClass {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional DeviceClassSpec spec = 2;
}
message DeviceClassConfiguration {
  optional DeviceConfiguration deviceConfiguration = 1;
}
message DeviceClassSpec {
  repeated DeviceSelector selectors = 1;
  repeated DeviceClassConfiguration config = 2;
  optional string extendedResourceName = 4;
}
message DeviceConfiguration {
  optional OpaqueDeviceConfiguration opaque = 1;
}
message DeviceConstraint {
  repeated string requests = 1;
  optional string matchAttribute = 2;
  optional string distinctAttribute = 3;
}
message DeviceCounterConsumption {
  optional string counterSet = 1;
  map<string, Counter> counters = 2;
}
message DeviceRequest {
  optional string name = 1;
  optional ExactDeviceRequest exactly = 2;
  repeated DeviceSubRequest firstAvailable = 3;
}
message DeviceRequestAllocationResult {
  optional string request = 1;
  optional string driver = 2;
  optional string pool = 3;
  optional string device = 4;
  optional bool adminAccess = 5;
  repeated DeviceToleration tolerations = 6;
  repeated string bindingConditions = 7;
  repeated string bindingFailureConditions = 8;
  optional string shareID = 9;
  map<string, .k8s.io.apimachinery.pkg.api.resource.Quantity> consumedCapacity = 10;
}
message DeviceSelector {
  optional CELDeviceSelector cel = 1;
}
message DeviceSubRequest {
  optional string name = 1;
  optional string deviceClassName = 2;
  repeated DeviceSelector selectors = 3;
  optional string allocationMode = 4;
  optional int64 count = 5;
  repeated DeviceToleration tolerations = 6;
  optional CapacityRequirements capacity = 7;
}
message DeviceTaint {
  optional string key = 1;
  optional string value = 2;
  optional string effect = 3;
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.Time timeAdded = 4;
}
message DeviceToleration {
  optional string key = 1;
  optional string operator = 2;
  optional string value = 3;
  optional string effect = 4;
  optional int64 tolerationSeconds = 5;
}
message ExactDeviceRequest {
  optional string deviceClassName = 1;
  repeated DeviceSelector selectors = 2;
  optional string allocationMode = 3;
  optional int64 count = 4;
  optional bool adminAccess = 5;
  repeated DeviceToleration tolerations = 6;
  optional CapacityRequirements capacity = 7;
}
message NetworkDeviceData {
  optional string interfaceName = 1;
  repeated string ips = 2;
  optional string hardwareAddress = 3;
}
message NodeAllocatableResourceMapping {
  optional string capacityKey = 1;
  optional .k8s.io.apimachinery.pkg.api.resource.Quantity allocationMultiplier = 2;
}
message OpaqueDeviceConfiguration {
  optional string driver = 1;
  optional .k8s.io.apimachinery.pkg.runtime.RawExtension parameters = 2;
}
message ResourceClaim {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional ResourceClaimSpec spec = 2;
  optional ResourceClaimStatus status = 3;
}
message ResourceClaimConsumerReference {
  optional string apiGroup = 1;
  optional string resource = 3;
  optional string name = 4;
  optional string uid = 5;
}
message ResourceClaimSpec {
  optional DeviceClaim devices = 1;
}
message ResourceClaimStatus {
  optional AllocationResult allocation = 1;
  repeated ResourceClaimConsumerReference reservedFor = 2;
  repeated AllocatedDeviceStatus devices = 4;
}
message ResourceClaimTemplate {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional ResourceClaimTemplateSpec spec = 2;
}
message ResourceClaimTemplateSpec {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional ResourceClaimSpec spec = 2;
}
message ResourcePool {
  optional string name = 1;
  optional int64 generation = 2;
  optional int64 resourceSliceCount = 3;
}
message ResourceSlice {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional ResourceSliceSpec spec = 2;
}
message ResourceSliceSpec {
  optional string driver = 1;
  optional ResourcePool pool = 2;
  optional string nodeName = 3;
  optional .k8s.io.api.core.v1.NodeSelector nodeSelector = 4;
  optional bool allNodes = 5;
  repeated Device devices = 6;
  optional bool perDeviceNodeSelection = 7;
  repeated CounterSet sharedCounters = 8;
}
`,
  `
package k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1;

message CustomResourceColumnDefinition {
  optional string name = 1;
  optional string type = 2;
  optional string format = 3;
  optional string description = 4;
  optional int32 priority = 5;
  optional string jsonPath = 6;
}
message CustomResourceConversion {
  optional string strategy = 1;
  optional WebhookConversion webhook = 2;
}
message CustomResourceDefinition {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional CustomResourceDefinitionSpec spec = 2;
  optional CustomResourceDefinitionStatus status = 3;
}
message CustomResourceDefinitionCondition {
  optional string type = 1;
  optional string status = 2;
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.Time lastTransitionTime = 3;
  optional string reason = 4;
  optional string message = 5;
  optional int64 observedGeneration = 6;
}
message CustomResourceDefinitionNames {
  optional string plural = 1;
  optional string singular = 2;
  repeated string shortNames = 3;
  optional string kind = 4;
  optional string listKind = 5;
  repeated string categories = 6;
}
message CustomResourceDefinitionSpec {
  optional string group = 1;
  optional CustomResourceDefinitionNames names = 3;
  optional string scope = 4;
  repeated CustomResourceDefinitionVersion versions = 7;
  optional CustomResourceConversion conversion = 9;
  optional bool preserveUnknownFields = 10;
}
message CustomResourceDefinitionStatus {
  repeated CustomResourceDefinitionCondition conditions = 1;
  optional CustomResourceDefinitionNames acceptedNames = 2;
  repeated string storedVersions = 3;
  optional int64 observedGeneration = 4;
}
message CustomResourceDefinitionVersion {
  optional string name = 1;
  optional bool served = 2;
  optional bool storage = 3;
  optional CustomResourceValidation schema = 4;
  optional CustomResourceSubresources subresources = 5;
  repeated CustomResourceColumnDefinition additionalPrinterColumns = 6;
  optional bool deprecated = 7;
  optional string deprecationWarning = 8;
  repeated SelectableField selectableFields = 9;
}
message CustomResourceSubresourceScale {
  optional string specReplicasPath = 1;
  optional string statusReplicasPath = 2;
  optional string labelSelectorPath = 3;
}
message CustomResourceSubresourceStatus {
}
message CustomResourceSubresources {
  optional CustomResourceSubresourceStatus status = 1;
  optional CustomResourceSubresourceScale scale = 2;
}
message CustomResourceValidation {
  optional JSONSchemaProps openAPIV3Schema = 1;
}
message ExternalDocumentation {
  optional string description = 1;
  optional string url = 2;
}
message JSON {
  optional bytes raw = 1;
}
message JSONSchemaProps {
  optional string id = 1;
  optional string schema = 2;
  optional string ref = 3;
  optional string description = 4;
  optional string type = 5;
  optional string format = 6;
  optional string title = 7;
  optional JSON default = 8;
  optional double maximum = 9;
  optional bool exclusiveMaximum = 10;
  optional double minimum = 11;
  optional bool exclusiveMinimum = 12;
  optional int64 maxLength = 13;
  optional int64 minLength = 14;
  optional string pattern = 15;
  optional int64 maxItems = 16;
  optional int64 minItems = 17;
  optional bool uniqueItems = 18;
  optional double multipleOf = 19;
  repeated JSON enum = 20;
  optional int64 maxProperties = 21;
  optional int64 minProperties = 22;
  repeated string required = 23;
  optional JSONSchemaPropsOrArray items = 24;
  repeated JSONSchemaProps allOf = 25;
  repeated JSONSchemaProps oneOf = 26;
  repeated JSONSchemaProps anyOf = 27;
  optional JSONSchemaProps not = 28;
  map<string, JSONSchemaProps> properties = 29;
  optional JSONSchemaPropsOrBool additionalProperties = 30;
  map<string, JSONSchemaProps> patternProperties = 31;
  map<string, JSONSchemaPropsOrStringArray> dependencies = 32;
  optional JSONSchemaPropsOrBool additionalItems = 33;
  map<string, JSONSchemaProps> definitions = 34;
  optional ExternalDocumentation externalDocs = 35;
  optional JSON example = 36;
  optional bool nullable = 37;
  optional bool xKubernetesPreserveUnknownFields = 38;
  optional bool xKubernetesEmbeddedResource = 39;
  optional bool xKubernetesIntOrString = 40;
  repeated string xKubernetesListMapKeys = 41;
  optional string xKubernetesListType = 42;
  optional string xKubernetesMapType = 43;
  repeated ValidationRule xKubernetesValidations = 44;
}
message JSONSchemaPropsOrArray {
  optional JSONSchemaProps schema = 1;
  repeated JSONSchemaProps jSONSchemas = 2;
}
message JSONSchemaPropsOrBool {
  optional bool allows = 1;
  optional JSONSchemaProps schema = 2;
}
message JSONSchemaPropsOrStringArray {
  optional JSONSchemaProps schema = 1;
  repeated string property = 2;
}
message SelectableField {
  optional string jsonPath = 1;
}
message ServiceReference {
  optional string namespace = 1;
  optional string name = 2;
  optional string path = 3;
  optional int32 port = 4;
}
message ValidationRule {
  optional string rule = 1;
  optional string message = 2;
  optional string messageExpression = 3;
  optional string reason = 4;
  optional string fieldPath = 5;
  optional bool optionalOldSelf = 6;
}
message WebhookClientConfig {
  optional ServiceReference service = 1;
  optional bytes caBundle = 2;
  optional string url = 3;
}
message WebhookConversion {
  optional WebhookClientConfig clientConfig = 2;
  repeated string conversionReviewVersions = 3;
}
`,
  `
package k8s.io.kube_aggregator.pkg.apis.apiregistration.v1;

message APIService {
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta metadata = 1;
  optional APIServiceSpec spec = 2;
  optional APIServiceStatus status = 3;
}
message APIServiceCondition {
  optional string type = 1;
  optional string status = 2;
  optional .k8s.io.apimachinery.pkg.apis.meta.v1.Time lastTransitionTime = 3;
  optional string reason = 4;
  optional string message = 5;
}
message APIServiceSpec {
  optional ServiceReference service = 1;
  optional string group = 2;
  optional string version = 3;
  optional bool insecureSkipTLSVerify = 4;
  optional bytes caBundle = 5;
  optional int32 groupPriorityMinimum = 7;
  optional int32 versionPriority = 8;
}
message APIServiceStatus {
  repeated APIServiceCondition conditions = 1;
}
message ServiceReference {
  optional string namespace = 1;
  optional string name = 2;
  optional int32 port = 3;
}
`,
];

// Fields of messages above whose zero value means absence: Go has no other for them, so that typed clients always send them. The
// schemas say it of other messages (`x-omit-zero`).
export const omittedZeros = {
  'apiextensions.v1.CustomResourceColumnDefinition': 'format description priority',
  'apiextensions.v1.CustomResourceDefinitionCondition': 'reason message',
  'apiextensions.v1.CustomResourceDefinitionNames': 'singular listKind',
  'apiextensions.v1.CustomResourceDefinitionSpec': 'preserveUnknownFields',
  'apiextensions.v1.CustomResourceDefinitionVersion': 'deprecated',
  'apiextensions.v1.ExternalDocumentation': 'description url',
  'apiextensions.v1.JSONSchemaProps':
    'id $schema description type format title exclusiveMaximum exclusiveMinimum pattern uniqueItems nullable x-kubernetes-embedded-resource x-kubernetes-int-or-string',
  'apiextensions.v1.ValidationRule': 'message messageExpression fieldPath',
  'apiregistration.v1.APIServiceCondition': 'reason message',
  'apiregistration.v1.APIServiceSpec': 'group version insecureSkipTLSVerify',
  'apiregistration.v1.ServiceReference': 'namespace name',
};
