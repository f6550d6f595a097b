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
# Beside these, in lower case without _, they are the size of a box.
CORNERS = {"x", "x0", "x1", "xmin", "left", "originx", "cx", "xc", "centerx", "xcenter"}
# Lists of faces under other things: ours, MediaPipe's, COCO's, MMPose's and OpenPose's.
LISTS = ("faces", "faceLandmarks", "face_landmarks", "multi_face_landmarks", "annotations",
          "instance_info", "instances", "people")
# Those of them that have the faces of one picture, if they make up a file.
OF_ONE_PICTURE = {*LISTS} - {"faces", "annotations"}
