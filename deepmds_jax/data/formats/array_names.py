"""What landmarks, and what is known of them, are called in arrays and in JSON."""

from deepmds_jax.data.formats.faces import OF_FACES, SEEN

# What landmarks are called, the likeliest first: in our own files `points` are in 3D, in those of
# COCO-WholeBody `keypoints` are the body's beside `face_kpts`. dlib has `parts`.
FIELDS = ("landmarks", "x2d", "face_kpts", "face_keypoints_2d", "keypoints", "landmark", "points",
          "parts")
# What is called as what `make_face` takes.
KNOWN = {
    **SEEN,
    **OF_FACES,
    "size": ("image_size",),
}
SIZE = ("width", "height")
# Lists of faces under other things: ours, MediaPipe's, COCO's, MMPose's and OpenPose's.
LISTS = ("faces", "faceLandmarks", "face_landmarks", "multi_face_landmarks", "annotations",
          "instance_info", "instances", "people")
