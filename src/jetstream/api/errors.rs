//! The errors of the JetStream API: one table with all of them.
//!
//! Clients match on `err_code`; the texts are what people read. Both are the reference's
//! (`errors.json`, 2.15), and so are the constants by which its documents name them.

use crate::json::Nanos;
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use std::fmt::{self, Display, Formatter};

/// Makes [`ApiError`] of the table: constant, variant with the parameters of its text, code, number
/// and text.
macro_rules! errors {
    ($($constant:literal, $name:ident $({ $($parameter:ident: $type:ty),+ })? =
        $code:literal, $err_code:literal, $text:literal;)*) => {
        /// Why a request, or a message to a stream, was refused.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub enum ApiError {
            $(#[doc = concat!("`", $constant, "`: ", $text, " (", $err_code, ")")]
            $name $({ $($parameter: $type),+ })?,)*
            /// What another server answered, which need not know the same errors.
            Other { code: u16, err_code: u16, description: String },
        }

        impl ApiError {
            /// The kind of error, as in HTTP.
            pub fn code(&self) -> u16 {
                match self {
                    $(ApiError::$name { .. } => $code,)*
                    ApiError::Other { code, .. } => *code,
                }
            }

            /// The number that tells this error from all others.
            pub fn err_code(&self) -> u16 {
                match self {
                    $(ApiError::$name { .. } => $err_code,)*
                    ApiError::Other { err_code, .. } => *err_code,
                }
            }
        }

        impl Display for ApiError {
            /// The description.
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                match self {
                    $(ApiError::$name $({ $($parameter),+ })? => write!(f, $text),)*
                    ApiError::Other { description, .. } => f.write_str(description),
                }
            }
        }

        /// Constant, code, number and text with its parameters in braces, of each.
        #[cfg(test)]
        const TABLE: &[(&str, u16, u16, &str)] = &[$(($constant, $code, $err_code, $text),)*];
    };
}

errors! {
    "JSAccountResourcesExceededErr", AccountResourcesExceeded =
        400, 10002, "resource limits exceeded for account";
    "JSBadRequestErr", BadRequest = 400, 10003, "bad request";
    "JSClusterIncompleteErr", ClusterIncomplete = 503, 10004, "incomplete results";
    "JSClusterNoPeersErrF", ClusterNoPeers { err: String } = 400, 10005, "{err}";
    "JSClusterNotActiveErr", ClusterNotActive = 500, 10006, "JetStream not in clustered mode";
    "JSClusterNotAssignedErr", ClusterNotAssigned =
        500, 10007, "JetStream cluster not assigned to this server";
    "JSClusterNotAvailErr", ClusterNotAvail =
        503, 10008, "JetStream system temporarily unavailable";
    "JSClusterNotLeaderErr", ClusterNotLeader =
        500, 10009, "JetStream cluster can not handle request";
    "JSClusterRequiredErr", ClusterRequired = 503, 10010, "JetStream clustering support required";
    "JSClusterTagsErr", ClusterTags = 400, 10011, "tags placement not supported for operation";
    "JSConsumerCreateErrF", ConsumerCreate { err: String } = 500, 10012, "{err}";
    "JSConsumerNameExistErr", ConsumerNameExist = 400, 10013, "consumer name already in use";
    "JSConsumerNotFoundErr", ConsumerNotFound = 404, 10014, "consumer not found";
    "JSSnapshotDeliverSubjectInvalidErr", SnapshotDeliverSubjectInvalid =
        400, 10015, "deliver subject not valid";
    "JSConsumerDurableNameNotInSubjectErr", ConsumerDurableNameNotInSubject =
        400, 10016, "consumer expected to be durable but no durable name set in subject";
    "JSConsumerDurableNameNotMatchSubjectErr", ConsumerDurableNameNotMatchSubject =
        400, 10017, "consumer name in subject does not match durable name in request";
    "JSConsumerDurableNameNotSetErr", ConsumerDurableNameNotSet =
        400, 10018, "consumer expected to be durable but a durable name was not set";
    "JSConsumerEphemeralWithDurableInSubjectErr", ConsumerEphemeralWithDurableInSubject =
        400, 10019, "consumer expected to be ephemeral but detected a durable name set in subject";
    "JSConsumerEphemeralWithDurableNameErr", ConsumerEphemeralWithDurableName =
        400, 10020, "consumer expected to be ephemeral but a durable name was set in request";
    "JSStreamExternalApiOverlapErrF", StreamExternalApiOverlap { prefix: String, subject: String } =
        400, 10021, "stream external api prefix {prefix} must not overlap with {subject}";
    "JSStreamExternalDelPrefixOverlapsErrF", StreamExternalDelPrefixOverlaps { prefix: String, subject: String } =
        400, 10022, "stream external delivery prefix {prefix} overlaps with stream subject {subject}";
    "JSInsufficientResourcesErr", InsufficientResources = 503, 10023, "insufficient resources";
    "JSStreamInvalidExternalDeliverySubjErrF", StreamInvalidExternalDeliverySubj { prefix: String } =
        400, 10024, "stream external delivery prefix {prefix} must not contain wildcards";
    "JSInvalidJSONErr", InvalidJson { err: String } = 400, 10025, "invalid JSON: {err}";
    "JSMaximumConsumersLimitErr", MaximumConsumersLimit =
        400, 10026, "maximum consumers limit reached";
    "JSMaximumStreamsLimitErr", MaximumStreamsLimit =
        400, 10027, "maximum number of streams reached";
    "JSMemoryResourcesExceededErr", MemoryResourcesExceeded =
        500, 10028, "insufficient memory resources available";
    "JSMirrorConsumerSetupFailedErrF", MirrorConsumerSetupFailed { err: String } =
        500, 10029, "{err}";
    "JSMirrorMaxMessageSizeTooBigErr", MirrorMaxMessageSizeTooBig =
        400, 10030, "stream mirror must have max message size >= source";
    "JSMirrorWithSourcesErr", MirrorWithSources =
        400, 10031, "stream mirrors can not also contain other sources";
    "JSMirrorWithStartSeqAndTimeErr", MirrorWithStartSeqAndTime =
        400, 10032, "stream mirrors can not have both start seq and start time configured";
    "JSMirrorWithSubjectFiltersErr", MirrorWithSubjectFilters =
        400, 10033, "stream mirrors can not contain filtered subjects";
    "JSMirrorWithSubjectsErr", MirrorWithSubjects =
        400, 10034, "stream mirrors can not contain subjects";
    "JSNoAccountErr", NoAccount = 503, 10035, "account not found";
    "JSClusterUnSupportFeatureErr", ClusterUnSupportFeature =
        503, 10036, "not currently supported in clustered mode";
    "JSNoMessageFoundErr", NoMessageFound = 404, 10037, "no message found";
    "JSNotEmptyRequestErr", NotEmptyRequest = 400, 10038, "expected an empty request payload";
    "JSNotEnabledForAccountErr", NotEnabledForAccount =
        503, 10039, "JetStream not enabled for account";
    "JSClusterPeerNotMemberErr", ClusterPeerNotMember = 400, 10040, "peer not a member";
    "JSRaftGeneralErrF", RaftGeneral { err: String } = 500, 10041, "{err}";
    "JSRestoreSubscribeFailedErrF", RestoreSubscribeFailed { subject: String, err: String } =
        500, 10042, "JetStream unable to subscribe to restore snapshot {subject}: {err}";
    "JSSequenceNotFoundErrF", SequenceNotFound { seq: u64 } =
        400, 10043, "sequence {seq} not found";
    "JSClusterServerNotMemberErr", ClusterServerNotMember =
        400, 10044, "server is not a member of the cluster";
    "JSSourceConsumerSetupFailedErrF", SourceConsumerSetupFailed { err: String } =
        500, 10045, "{err}";
    "JSSourceMaxMessageSizeTooBigErr", SourceMaxMessageSizeTooBig =
        400, 10046, "stream source must have max message size >= target";
    "JSStorageResourcesExceededErr", StorageResourcesExceeded =
        500, 10047, "insufficient storage resources available";
    "JSStreamAssignmentErrF", StreamAssignment { err: String } = 500, 10048, "{err}";
    "JSStreamCreateErrF", StreamCreate { err: String } = 500, 10049, "{err}";
    "JSStreamDeleteErrF", StreamDelete { err: String } = 500, 10050, "{err}";
    "JSStreamGeneralErrorF", StreamGeneral { err: String } = 500, 10051, "{err}";
    "JSStreamInvalidConfigF", StreamInvalidConfig { err: String } = 500, 10052, "{err}";
    "JSStreamLimitsErrF", StreamLimits { err: String } = 500, 10053, "{err}";
    "JSStreamMessageExceedsMaximumErr", StreamMessageExceedsMaximum =
        400, 10054, "message size exceeds maximum allowed";
    "JSStreamMirrorNotUpdatableErr", StreamMirrorNotUpdatable =
        400, 10055, "stream mirror configuration can not be updated";
    "JSStreamMismatchErr", StreamMismatch =
        400, 10056, "stream name in subject does not match request";
    "JSStreamMsgDeleteFailedF", StreamMsgDeleteFailed { err: String } = 500, 10057, "{err}";
    "JSStreamNameExistErr", StreamNameExist =
        400, 10058, "stream name already in use with a different configuration";
    "JSStreamNotFoundErr", StreamNotFound = 404, 10059, "stream not found";
    "JSStreamNotMatchErr", StreamNotMatch = 400, 10060, "expected stream does not match";
    "JSStreamReplicasNotUpdatableErr", StreamReplicasNotUpdatable =
        400, 10061, "Replicas configuration can not be updated";
    "JSStreamRestoreErrF", StreamRestore { err: String } = 500, 10062, "restore failed: {err}";
    "JSStreamSequenceNotMatchErr", StreamSequenceNotMatch =
        503, 10063, "expected stream sequence does not match";
    "JSStreamSnapshotErrF", StreamSnapshot { err: String } = 500, 10064, "snapshot failed: {err}";
    "JSStreamSubjectOverlapErr", StreamSubjectOverlap =
        400, 10065, "subjects overlap with an existing stream";
    "JSStreamTemplateCreateErrF", StreamTemplateCreate { err: String } = 500, 10066, "{err}";
    "JSStreamTemplateDeleteErrF", StreamTemplateDelete { err: String } = 500, 10067, "{err}";
    "JSStreamTemplateNotFoundErr", StreamTemplateNotFound = 404, 10068, "template not found";
    "JSStreamUpdateErrF", StreamUpdate { err: String } = 500, 10069, "{err}";
    "JSStreamWrongLastMsgIDErrF", StreamWrongLastMsgId { id: String } =
        400, 10070, "wrong last msg ID: {id}";
    "JSStreamWrongLastSequenceErrF", StreamWrongLastSequence { seq: u64 } =
        400, 10071, "wrong last sequence: {seq}";
    "JSTempStorageFailedErr", TempStorageFailed =
        500, 10072, "JetStream unable to open temp storage for restore";
    "JSTemplateNameNotMatchSubjectErr", TemplateNameNotMatchSubject =
        400, 10073, "template name in subject does not match request";
    "JSStreamReplicasNotSupportedErr", StreamReplicasNotSupported =
        500, 10074, "replicas > 1 not supported in non-clustered mode";
    "JSPeerRemapErr", PeerRemap = 503, 10075, "peer remap failed";
    "JSNotEnabledErr", NotEnabled = 503, 10076, "JetStream not enabled";
    "JSStreamStoreFailedF", StreamStoreFailed { err: String } = 503, 10077, "{err}";
    "JSConsumerConfigRequiredErr", ConsumerConfigRequired = 400, 10078, "consumer config required";
    "JSConsumerDeliverToWildcardsErr", ConsumerDeliverToWildcards =
        400, 10079, "consumer deliver subject has wildcards";
    "JSConsumerPushMaxWaitingErr", ConsumerPushMaxWaiting =
        400, 10080, "consumer in push mode can not set max waiting";
    "JSConsumerDeliverCycleErr", ConsumerDeliverCycle =
        400, 10081, "consumer deliver subject forms a cycle";
    "JSConsumerMaxPendingAckPolicyRequiredErr", ConsumerMaxPendingAckPolicyRequired =
        400, 10082, "consumer requires ack policy for max ack pending";
    "JSConsumerSmallHeartbeatErr", ConsumerSmallHeartbeat =
        400, 10083, "consumer idle heartbeat needs to be >= 100ms";
    "JSConsumerPullRequiresAckErr", ConsumerPullRequiresAck =
        400, 10084, "consumer in pull mode requires explicit ack policy on workqueue stream";
    "JSConsumerPullNotDurableErr", ConsumerPullNotDurable =
        400, 10085, "consumer in pull mode requires a durable name";
    "JSConsumerPullWithRateLimitErr", ConsumerPullWithRateLimit =
        400, 10086, "consumer in pull mode can not have rate limit set";
    "JSConsumerMaxWaitingNegativeErr", ConsumerMaxWaitingNegative =
        400, 10087, "consumer max waiting needs to be positive";
    "JSConsumerHBRequiresPushErr", ConsumerHbRequiresPush =
        400, 10088, "consumer idle heartbeat requires a push based consumer";
    "JSConsumerFCRequiresPushErr", ConsumerFcRequiresPush =
        400, 10089, "consumer flow control requires a push based consumer";
    "JSConsumerDirectRequiresPushErr", ConsumerDirectRequiresPush =
        400, 10090, "consumer direct requires a push based consumer";
    "JSConsumerDirectRequiresEphemeralErr", ConsumerDirectRequiresEphemeral =
        400, 10091, "consumer direct requires an ephemeral consumer";
    "JSConsumerOnMappedErr", ConsumerOnMapped = 400, 10092, "consumer direct on a mapped consumer";
    "JSConsumerFilterNotSubsetErr", ConsumerFilterNotSubset =
        400, 10093, "consumer filter subject is not a valid subset of the interest subjects";
    "JSConsumerInvalidPolicyErrF", ConsumerInvalidPolicy { err: String } = 400, 10094, "{err}";
    "JSConsumerInvalidSamplingErrF", ConsumerInvalidSampling { err: String } =
        400, 10095, "failed to parse consumer sampling configuration: {err}";
    "JSStreamInvalidErr", StreamInvalid = 500, 10096, "stream not valid";
    "JSStreamHeaderExceedsMaximumErr", StreamHeaderExceedsMaximum =
        400, 10097, "header size exceeds maximum allowed of 64k";
    "JSConsumerWQRequiresExplicitAckErr", ConsumerWqRequiresExplicitAck =
        400, 10098, "workqueue stream requires explicit ack";
    "JSConsumerWQMultipleUnfilteredErr", ConsumerWqMultipleUnfiltered =
        400, 10099, "multiple non-filtered consumers not allowed on workqueue stream";
    "JSConsumerWQConsumerNotUniqueErr", ConsumerWqConsumerNotUnique =
        400, 10100, "filtered consumer not unique on workqueue stream";
    "JSConsumerWQConsumerNotDeliverAllErr", ConsumerWqConsumerNotDeliverAll =
        400, 10101, "consumer must be deliver all on workqueue stream";
    "JSConsumerNameTooLongErrF", ConsumerNameTooLong { max: usize } =
        400, 10102, "consumer name is too long, maximum allowed is {max}";
    "JSConsumerBadDurableNameErr", ConsumerBadDurableName =
        400, 10103, "durable name can not contain '.', '*', '>'";
    "JSConsumerStoreFailedErrF", ConsumerStoreFailed { err: String } =
        500, 10104, "error creating store for consumer: {err}";
    "JSConsumerExistingActiveErr", ConsumerExistingActive =
        400, 10105, "consumer already exists and is still active";
    "JSConsumerReplacementWithDifferentNameErr", ConsumerReplacementWithDifferentName =
        400, 10106, "consumer replacement durable config not the same";
    "JSConsumerDescriptionTooLongErrF", ConsumerDescriptionTooLong { max: usize } =
        400, 10107, "consumer description is too long, maximum allowed is {max}";
    "JSConsumerWithFlowControlNeedsHeartbeats", ConsumerWithFlowControlNeedsHeartbeats =
        400, 10108, "consumer with flow control also needs heartbeats";
    "JSStreamSealedErr", StreamSealed = 400, 10109, "invalid operation on sealed stream";
    "JSStreamPurgeFailedF", StreamPurgeFailed { err: String } = 500, 10110, "{err}";
    "JSStreamRollupFailedF", StreamRollupFailed { err: String } = 500, 10111, "{err}";
    "JSConsumerInvalidDeliverSubject", ConsumerInvalidDeliverSubject =
        400, 10112, "invalid push consumer deliver subject";
    "JSStreamMaxBytesRequired", StreamMaxBytesRequired =
        400, 10113, "account requires a stream config to have max bytes set";
    "JSConsumerMaxRequestBatchNegativeErr", ConsumerMaxRequestBatchNegative =
        400, 10114, "consumer max request batch needs to be > 0";
    "JSConsumerMaxRequestExpiresTooSmall", ConsumerMaxRequestExpiresTooSmall =
        400, 10115, "consumer max request expires needs to be >= 1ms";
    "JSConsumerMaxDeliverBackoffErr", ConsumerMaxDeliverBackoff =
        400, 10116, "max deliver is required to be > length of backoff values";
    "JSStreamInfoMaxSubjectsErr", StreamInfoMaxSubjects =
        500, 10117, "subject details would exceed maximum allowed";
    "JSStreamOfflineErr", StreamOffline = 500, 10118, "stream is offline";
    "JSConsumerOfflineErr", ConsumerOffline = 500, 10119, "consumer is offline";
    "JSNoLimitsErr", NoLimits =
        400, 10120, "no JetStream default or applicable tiered limit present";
    "JSConsumerMaxPendingAckExcessErrF", ConsumerMaxPendingAckExcess { limit: i64 } =
        400, 10121, "consumer max ack pending exceeds system limit of {limit}";
    "JSStreamMaxStreamBytesExceeded", StreamMaxStreamBytesExceeded =
        400, 10122, "stream max bytes exceeds account limit max stream bytes";
    "JSStreamMoveAndScaleErr", StreamMoveAndScale =
        400, 10123, "can not move and scale a stream in a single update";
    "JSStreamMoveInProgressErr", StreamMoveInProgress =
        400, 10124, "stream move already in progress";
    "JSConsumerMaxRequestBatchExceededF", ConsumerMaxRequestBatchExceeded { limit: i64 } =
        400, 10125, "consumer max request batch exceeds server limit of {limit}";
    "JSConsumerReplicasExceedsStream", ConsumerReplicasExceedsStream =
        400, 10126, "consumer config replica count exceeds parent stream";
    "JSConsumerNameContainsPathSeparatorsErr", ConsumerNameContainsPathSeparators =
        400, 10127, "Consumer name can not contain path separators";
    "JSStreamNameContainsPathSeparatorsErr", StreamNameContainsPathSeparators =
        400, 10128, "Stream name can not contain path separators";
    "JSStreamReconfigureNotInProgressErr", StreamReconfigureNotInProgress =
        400, 10129, "stream reconfiguration not in progress";
    "JSStreamNameExistRestoreFailedErr", StreamNameExistRestoreFailed =
        400, 10130, "stream name already in use, cannot restore";
    "JSConsumerCreateFilterSubjectMismatchErr", ConsumerCreateFilterSubjectMismatch =
        400, 10131, "Consumer create request did not match filtered subject from create subject";
    "JSConsumerCreateDurableAndNameMismatch", ConsumerCreateDurableAndNameMismatch =
        400, 10132, "Consumer Durable and Name have to be equal if both are provided";
    "JSReplicasCountCannotBeNegative", ReplicasCountCannotBeNegative =
        400, 10133, "replicas count cannot be negative";
    "JSConsumerReplicasShouldMatchStream", ConsumerReplicasShouldMatchStream =
        400, 10134, "consumer config replicas must match interest retention stream's replicas";
    "JSConsumerMetadataLengthErrF", ConsumerMetadataLength { limit: String } =
        400, 10135, "consumer metadata exceeds maximum size of {limit}";
    "JSConsumerDuplicateFilterSubjects", ConsumerDuplicateFilterSubjects =
        400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified";
    "JSConsumerMultipleFiltersNotAllowed", ConsumerMultipleFiltersNotAllowed =
        400, 10137, "consumer with multiple subject filters cannot use subject based API";
    "JSConsumerOverlappingSubjectFilters", ConsumerOverlappingSubjectFilters =
        400, 10138, "consumer subject filters cannot overlap";
    "JSConsumerEmptyFilter", ConsumerEmptyFilter =
        400, 10139, "consumer filter in FilterSubjects cannot be empty";
    "JSSourceDuplicateDetected", SourceDuplicateDetected =
        400, 10140, "duplicate source configuration detected";
    "JSSourceInvalidStreamName", SourceInvalidStreamName =
        400, 10141, "sourced stream name is invalid";
    "JSMirrorInvalidStreamName", MirrorInvalidStreamName =
        400, 10142, "mirrored stream name is invalid";
    "JSMirrorWithFirstSeqErr", MirrorWithFirstSeq =
        400, 10143, "stream mirrors can not have first sequence configured";
    "JSSourceMultipleFiltersNotAllowed", SourceMultipleFiltersNotAllowed =
        400, 10144, "source with multiple subject transforms cannot also have a single subject filter";
    "JSSourceInvalidSubjectFilter", SourceInvalidSubjectFilter { err: String } =
        400, 10145, "source transform source: {err}";
    "JSSourceInvalidTransformDestination", SourceInvalidTransformDestination { err: String } =
        400, 10146, "source transform: {err}";
    "JSSourceOverlappingSubjectFilters", SourceOverlappingSubjectFilters =
        400, 10147, "source filters can not overlap";
    "JSConsumerAlreadyExists", ConsumerAlreadyExists = 400, 10148, "consumer already exists";
    "JSConsumerDoesNotExist", ConsumerDoesNotExist = 400, 10149, "consumer does not exist";
    "JSMirrorMultipleFiltersNotAllowed", MirrorMultipleFiltersNotAllowed =
        400, 10150, "mirror with multiple subject transforms cannot also have a single subject filter";
    "JSMirrorInvalidSubjectFilter", MirrorInvalidSubjectFilter { err: String } =
        400, 10151, "mirror transform source: {err}";
    "JSMirrorOverlappingSubjectFilters", MirrorOverlappingSubjectFilters =
        400, 10152, "mirror subject filters can not overlap";
    "JSConsumerInactiveThresholdExcess", ConsumerInactiveThresholdExcess { limit: Nanos } =
        400, 10153, "consumer inactive threshold exceeds system limit of {limit}";
    "JSMirrorInvalidTransformDestination", MirrorInvalidTransformDestination { err: String } =
        400, 10154, "mirror transform: {err}";
    "JSStreamTransformInvalidSource", StreamTransformInvalidSource { err: String } =
        400, 10155, "stream transform source: {err}";
    "JSStreamTransformInvalidDestination", StreamTransformInvalidDestination { err: String } =
        400, 10156, "stream transform: {err}";
    "JSPedanticErrF", Pedantic { err: String } = 400, 10157, "pedantic mode: {err}";
    "JSStreamDuplicateMessageConflict", StreamDuplicateMessageConflict =
        409, 10158, "duplicate message id is in process";
    "JSConsumerPriorityPolicyWithoutGroup", ConsumerPriorityPolicyWithoutGroup =
        400, 10159, "Setting PriorityPolicy requires at least one PriorityGroup to be set";
    "JSConsumerInvalidPriorityGroupErr", ConsumerInvalidPriorityGroup =
        400, 10160, "Provided priority group does not exist for this consumer";
    "JSConsumerEmptyGroupName", ConsumerEmptyGroupName =
        400, 10161, "Group name cannot be an empty string";
    "JSConsumerInvalidGroupNameErr", ConsumerInvalidGroupName =
        400, 10162, "Valid priority group name must match A-Z, a-z, 0-9, -_/=)+ and may not exceed 16 characters";
    "JSStreamExpectedLastSeqPerSubjectNotReady", StreamExpectedLastSeqPerSubjectNotReady =
        503, 10163, "expected last sequence per subject temporarily unavailable";
    "JSStreamWrongLastSequenceConstantErr", StreamWrongLastSequenceConstant =
        400, 10164, "wrong last sequence";
    "JSMessageTTLInvalidErr", MessageTtlInvalid = 400, 10165, "invalid per-message TTL";
    "JSMessageTTLDisabledErr", MessageTtlDisabled = 400, 10166, "per-message TTL is disabled";
    "JSStreamTooManyRequests", StreamTooManyRequests = 429, 10167, "too many requests";
    "JSMessageIncrDisabledErr", MessageIncrDisabled = 400, 10168, "message counters is disabled";
    "JSMessageIncrMissingErr", MessageIncrMissing =
        400, 10169, "message counter increment is missing";
    "JSMessageIncrPayloadErr", MessageIncrPayload = 400, 10170, "message counter has payload";
    "JSMessageIncrInvalidErr", MessageIncrInvalid =
        400, 10171, "message counter increment is invalid";
    "JSMessageCounterBrokenErr", MessageCounterBroken = 400, 10172, "message counter is broken";
    "JSMirrorWithCountersErr", MirrorWithCounters =
        400, 10173, "stream mirrors can not also calculate counters";
    "JSAtomicPublishDisabledErr", AtomicPublishDisabled = 400, 10174, "atomic publish is disabled";
    "JSAtomicPublishMissingSeqErr", AtomicPublishMissingSeq =
        400, 10175, "atomic publish sequence is missing";
    "JSAtomicPublishIncompleteBatchErr", AtomicPublishIncompleteBatch =
        400, 10176, "atomic publish batch is incomplete";
    "JSAtomicPublishUnsupportedHeaderBatchErr", AtomicPublishUnsupportedHeaderBatch { header: String } =
        400, 10177, "atomic publish unsupported header used: {header}";
    "JSConsumerPushWithPriorityGroupErr", ConsumerPushWithPriorityGroup =
        400, 10178, "priority groups can not be used with push consumers";
    "JSAtomicPublishInvalidBatchIDErr", AtomicPublishInvalidBatchId =
        400, 10179, "atomic publish batch ID is invalid";
    "JSStreamMinLastSeqErr", StreamMinLastSeq = 412, 10180, "min last sequence";
    "JSConsumerAckPolicyInvalidErr", ConsumerAckPolicyInvalid =
        400, 10181, "consumer ack policy invalid";
    "JSConsumerReplayPolicyInvalidErr", ConsumerReplayPolicyInvalid =
        400, 10182, "consumer replay policy invalid";
    "JSConsumerAckWaitNegativeErr", ConsumerAckWaitNegative =
        400, 10183, "consumer ack wait needs to be positive";
    "JSConsumerBackOffNegativeErr", ConsumerBackOffNegative =
        400, 10184, "consumer backoff needs to be positive";
    "JSRequiredApiLevelErr", RequiredApiLevel = 412, 10185, "JetStream minimum api level required";
    "JSMirrorWithMsgSchedulesErr", MirrorWithMsgSchedules =
        400, 10186, "stream mirrors can not also schedule messages";
    "JSSourceWithMsgSchedulesErr", SourceWithMsgSchedules =
        400, 10187, "stream source can not also schedule messages";
    "JSMessageSchedulesDisabledErr", MessageSchedulesDisabled =
        400, 10188, "message schedules is disabled";
    "JSMessageSchedulesPatternInvalidErr", MessageSchedulesPatternInvalid =
        400, 10189, "message schedules pattern is invalid";
    "JSMessageSchedulesTargetInvalidErr", MessageSchedulesTargetInvalid =
        400, 10190, "message schedules target is invalid";
    "JSMessageSchedulesTTLInvalidErr", MessageSchedulesTtlInvalid =
        400, 10191, "message schedules invalid per-message TTL";
    "JSMessageSchedulesRollupInvalidErr", MessageSchedulesRollupInvalid =
        400, 10192, "message schedules invalid rollup";
    "JSStreamExpectedLastSeqPerSubjectInvalid", StreamExpectedLastSeqPerSubjectInvalid =
        400, 10193, "missing sequence for expected last sequence per subject";
    "JSStreamOfflineReasonErrF", StreamOfflineReason { err: String } =
        500, 10194, "stream is offline: {err}";
    "JSConsumerOfflineReasonErrF", ConsumerOfflineReason { err: String } =
        500, 10195, "consumer is offline: {err}";
    "JSConsumerPriorityGroupWithPolicyNone", ConsumerPriorityGroupWithPolicyNone =
        400, 10196, "consumer can not have priority groups when policy is none";
    "JSConsumerPinnedTTLWithoutPriorityPolicyNone", ConsumerPinnedTtlWithoutPriorityPolicyNone =
        400, 10197, "PinnedTTL cannot be set when PriorityPolicy is none";
    "JSMirrorWithAtomicPublishErr", MirrorWithAtomicPublish =
        400, 10198, "stream mirrors can not also use atomic publishing";
    "JSAtomicPublishTooLargeBatchErrF", AtomicPublishTooLargeBatch { size: usize } =
        400, 10199, "atomic publish batch is too large: {size}";
    "JSAtomicPublishInvalidBatchCommitErr", AtomicPublishInvalidBatchCommit =
        400, 10200, "atomic publish batch commit is invalid";
    "JSAtomicPublishContainsDuplicateMessageErr", AtomicPublishContainsDuplicateMessage =
        400, 10201, "atomic publish batch contains duplicate message id";
    "JSClusterServerMemberChangeInflightErr", ClusterServerMemberChangeInflight =
        400, 10202, "cluster member change is in progress";
    "JSMessageSchedulesSourceInvalidErr", MessageSchedulesSourceInvalid =
        400, 10203, "message schedules source is invalid";
    "JSConsumerInvalidResetErr", ConsumerInvalidReset { err: String } =
        400, 10204, "invalid reset: {err}";
    "JSBatchPublishDisabledErr", BatchPublishDisabled = 400, 10205, "batch publish is disabled";
    "JSBatchPublishInvalidPatternErr", BatchPublishInvalidPattern =
        400, 10206, "batch publish pattern is invalid";
    "JSBatchPublishInvalidBatchIDErr", BatchPublishInvalidBatchId =
        400, 10207, "batch publish ID is invalid";
    "JSBatchPublishUnknownBatchIDErr", BatchPublishUnknownBatchId =
        400, 10208, "batch publish ID unknown";
    "JSMirrorWithBatchPublishErr", MirrorWithBatchPublish =
        400, 10209, "stream mirrors can not also use batch publishing";
    "JSAtomicPublishTooManyInflight", AtomicPublishTooManyInflight =
        429, 10210, "atomic publish too many inflight";
    "JSBatchPublishTooManyInflight", BatchPublishTooManyInflight =
        429, 10211, "batch publish too many inflight";
    "JSMessageSchedulesSchedulerInvalidErr", MessageSchedulesSchedulerInvalid =
        400, 10212, "message schedules invalid scheduler";
    "JSMirrorDurableConsumerCfgInvalid", MirrorDurableConsumerCfgInvalid =
        400, 10213, "stream mirror consumer config is invalid";
    "JSMirrorConsumerRequiresAckFCErr", MirrorConsumerRequiresAckFc =
        400, 10214, "stream mirror consumer requires flow control ack policy";
    "JSSourceDurableConsumerCfgInvalid", SourceDurableConsumerCfgInvalid =
        400, 10215, "stream source consumer config is invalid";
    "JSSourceDurableConsumerDuplicateDetected", SourceDurableConsumerDuplicateDetected =
        400, 10216, "duplicate stream source consumer detected";
    "JSSourceConsumerRequiresAckFCErr", SourceConsumerRequiresAckFc =
        400, 10217, "stream source consumer requires flow control ack policy";
    "JSConsumerAckFCRequiresPushErr", ConsumerAckFcRequiresPush =
        400, 10218, "flow control ack policy requires a push based consumer";
    "JSConsumerAckFCRequiresFCErr", ConsumerAckFcRequiresFc =
        400, 10219, "flow control ack policy requires flow control";
    "JSConsumerAckFCRequiresMaxAckPendingErr", ConsumerAckFcRequiresMaxAckPending =
        400, 10220, "flow control ack policy requires max ack pending";
    "JSConsumerAckFCRequiresNoAckWaitErr", ConsumerAckFcRequiresNoAckWait =
        400, 10221, "flow control ack policy requires unset ack wait";
    "JSConsumerAckFCRequiresNoMaxDeliverErr", ConsumerAckFcRequiresNoMaxDeliver =
        400, 10222, "flow control ack policy requires unset max deliver";
    "JSMessageSchedulesTimeZoneInvalidErr", MessageSchedulesTimeZoneInvalid =
        400, 10223, "message schedules time zone is invalid";
    "JSClusterRescueErr", ClusterRescue { err: String } =
        400, 10224, "JetStream system rescue not applied: {err}";
    "JSConsumerStreamIdentityMismatchF", ConsumerStreamIdentityMismatch { msg: String } =
        400, 10225, "consumer's stream identity does not match: {msg}";
    "JSStreamReconfigureInProgressErr", StreamReconfigureInProgress =
        400, 10226, "stream reconfiguration already in progress";
    "JSMessageSourceHdrNotAllowedErr", MessageSourceHdrNotAllowed =
        400, 10227, "message stream source header is not allowed";
}

impl ApiError {
    /// A stream's configuration that is not as it has to be.
    pub fn invalid_config(what: impl Into<String>) -> ApiError {
        ApiError::StreamInvalidConfig { err: what.into() }
    }

    /// A request that is not the JSON it has to be.
    pub fn invalid_json(what: impl Into<String>) -> ApiError {
        ApiError::InvalidJson { err: what.into() }
    }

    /// A consumer that can not be made or changed as asked.
    pub fn consumer_create(what: impl Into<String>) -> ApiError {
        ApiError::ConsumerCreate { err: what.into() }
    }

    /// Something that the server would have had to adjust, and is not to.
    pub fn pedantic(what: impl Into<String>) -> ApiError {
        ApiError::Pedantic { err: what.into() }
    }

    /// Why the store did not take a message.
    pub fn store_failed(what: impl Into<String>) -> ApiError {
        ApiError::StreamStoreFailed { err: what.into() }
    }
}

impl std::error::Error for ApiError {}

impl Serialize for ApiError {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let description = self.to_string();
        let fields = 1 + usize::from(self.err_code() != 0) + usize::from(!description.is_empty());
        let mut to = to.serialize_struct("ApiError", fields)?;
        to.serialize_field("code", &self.code())?;
        if self.err_code() != 0 {
            to.serialize_field("err_code", &self.err_code())?;
        }
        if !description.is_empty() {
            to.serialize_field("description", &description)?;
        }
        to.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn json(error: &ApiError) -> String {
        String::from_utf8(crate::json::compact(error)).unwrap()
    }

    #[test]
    fn errors_as_json() {
        let plain = r#"{"code":404,"err_code":10059,"description":"stream not found"}"#;
        assert_eq!(json(&ApiError::StreamNotFound), plain);
        let error = ApiError::StreamWrongLastSequence { seq: 7 };
        let wrong = r#"{"code":400,"err_code":10071,"description":"wrong last sequence: 7"}"#;
        assert_eq!(json(&error), wrong);
        let error = ApiError::Other {
            code: 500,
            err_code: 0,
            description: String::new(),
        };
        assert_eq!(json(&error), r#"{"code":500}"#);
    }

    #[test]
    fn parameters_stand_in_texts() {
        let error = ApiError::ConsumerInactiveThresholdExcess {
            limit: Nanos::from_secs(60),
        };
        let text = "consumer inactive threshold exceeds system limit of 1m0s";
        assert_eq!(error.to_string(), text);
        let error = ApiError::StreamExternalApiOverlap {
            prefix: "a".into(),
            subject: "b".into(),
        };
        let text = "stream external api prefix a must not overlap with b";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn numbers_are_unique_and_in_order() {
        let pairs = TABLE.iter().zip(&TABLE[1..]);
        let wrong: Vec<_> = pairs.filter(|(a, b)| a.2 >= b.2).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn the_table_is_that_of_the_reference() {
        let path = "../shared/reference/jetstream-errors.json";
        let Ok(text) = std::fs::read(path) else {
            eprintln!("skipped: there is no {path}");
            return;
        };
        type Entry = BTreeMap<String, serde_json::Value>;
        let entries: Vec<Entry> = serde_json::from_slice(&text).unwrap();
        let mut theirs: Vec<(String, u64, u64, String)> = entries
            .iter()
            .map(|e| {
                let text = |name: &str| e[name].as_str().unwrap().to_owned();
                let number = |name: &str| e[name].as_u64().unwrap();
                (
                    text("constant"),
                    number("code"),
                    number("error_code"),
                    text("description"),
                )
            })
            .collect();
        theirs.sort_by_key(|entry| entry.2);
        let ours: Vec<_> = TABLE
            .iter()
            .map(|e| (e.0.to_owned(), e.1.into(), e.2.into(), e.3.to_owned()))
            .collect();
        assert_eq!(ours, theirs);
    }
}
